"""Where answers end that a chat template asks for."""

import dataclasses

from sgjax.sampling_params import SamplingParams
from sgjax.text.chat_template import ChatTemplate
from sgjax.text.tokenizer import Tokenizer


def with_stops(
    params: SamplingParams, template: ChatTemplate, tokenizer: Tokenizer
) -> SamplingParams:
    """The parameters with a template's stops: as tokens where they are tokens, which have no text
    that could be seen."""
    found = {stop: tokenizer.added_tokens.get(stop) for stop in template.stops}
    tokens = tuple(token for token in found.values() if token is not None)
    texts = tuple(stop for stop, token in found.items() if token is None)
    return dataclasses.replace(
        params,
        stop=tuple(dict.fromkeys((*params.stop, *texts))),
        stop_token_ids=tuple(dict.fromkeys((*params.stop_token_ids, *tokens))),
    )
