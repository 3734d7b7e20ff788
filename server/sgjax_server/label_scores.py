"""How likely a model that generates goes on from texts with given tokens."""

from array import array
from collections.abc import Sequence
from contextlib import aclosing

import numpy as np

from sgjax.front.request import GenerationRequest
from sgjax.front.token_ids import read_ids
from sgjax.sampling_params import SamplingParams
from sgjax_server.service import Service


async def label_scores(
    service: Service, given: Sequence[str | array], labels: Sequence[int], *, is_softmax: bool
) -> tuple[list[list[float]], int]:
    """The probability of each label behind each text (or its tokens), and how many tokens these
    have; `is_softmax`: among the labels alone.

    A label is the last token of a prompt: what is before it is computed once, since prompts that
    begin alike share it.
    """
    read_ids(labels, service.client.info.vocab_size, param="label_token_ids")
    prompts = [
        service.needs_tokenizer().encode(each) if isinstance(each, str) else list(each)
        for each in given
    ]
    requests = [
        GenerationRequest(
            prompt=[*ids, label],
            params=SamplingParams(max_new_tokens=0),
            return_logprob=True,
            logprob_start=len(ids) - 1,
        )
        for ids in prompts
        for label in labels
    ]
    logprobs = np.array(await _last_logprobs(service, requests)).reshape(len(prompts), len(labels))
    scores = np.exp(logprobs)
    if is_softmax:
        scores /= scores.sum(axis=1, keepdims=True)
    return scores.tolist(), sum(map(len, prompts))


async def _last_logprobs(service: Service, requests: list[GenerationRequest]) -> list[float]:
    generation = await service.start(requests)
    found = [0.0] * len(requests)
    async with aclosing(generation):
        async for pieces in generation:
            for index, piece in pieces:
                if piece.prompt_logprobs is not None:
                    found[index] = piece.prompt_logprobs.logprobs[-1] or 0.0
    return found
