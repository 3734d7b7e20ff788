"""What a request's output is bound to, as the engine reads it."""

import asyncio
import dataclasses
import functools

from sgjax.constrained import grammar_of
from sgjax.constrained.grammar import JsonWhitespace
from sgjax.constrained.lark import special_to_llguidance
from sgjax.constraint_fields import CONSTRAINTS
from sgjax.errors import InvalidRequest
from sgjax.front.request import GenerationRequest
from sgjax.sampling_params import SamplingParams
from sgjax.text import Tokenizer

_MAX_KEPT = 64


async def read_grammar(
    request: GenerationRequest, tokenizer: Tokenizer | None, whitespace: JsonWhitespace
) -> tuple[str | None, list[int]]:
    """The llguidance grammar of a request, and the tokens after which it begins. What takes long
    is done in a thread, so that streams go on meanwhile.

    Raises:
        InvalidRequest: what binds the output is malformed, or there is no tokenizer.
    """
    params = request.params
    if not params.is_constrained:
        return None, []
    if tokenizer is None:
        raise InvalidRequest(
            "Output by a grammar needs a tokenizer, and this engine was started with "
            "--skip-tokenizer-init."
        )
    constraints = {name: getattr(params, name) for name in CONSTRAINTS}
    special = _special_tokens(tokenizer) if params.structural_tag is not None else ()
    grammar = await asyncio.to_thread(_grammar, tuple(constraints.items()), whitespace, special)
    after = request.grammar_after
    return grammar, tokenizer.encode(after, add_special_tokens=False) if after else []


@functools.lru_cache(_MAX_KEPT)
def _grammar(constraints: tuple, whitespace: JsonWhitespace, special: tuple) -> str | None:
    params = dataclasses.replace(SamplingParams(), **dict(constraints))
    return grammar_of(params, json_whitespace=whitespace, special_tokens=dict(special))


def _special_tokens(tokenizer: Tokenizer) -> tuple[tuple[str, int], ...]:
    found = special_to_llguidance(tokenizer.added_tokens, tokenizer.is_special)
    return tuple(found.items())
