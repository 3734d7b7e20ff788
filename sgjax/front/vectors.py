"""Vectors of prompts, from a model that pools: embeddings, or scores of labels."""

import dataclasses
from collections.abc import Sequence
from contextlib import aclosing
from typing import Any

import numpy as np

from sgjax.errors import InvalidRequest
from sgjax.front.generator import Generation
from sgjax.front.native import read_call
from sgjax.front.request import GenerationRequest


@dataclasses.dataclass(frozen=True, slots=True)
class Vector:
    """What the model made of a prompt."""

    values: np.ndarray
    """f32[W]."""
    rid: str
    num_tokens: int
    num_cached: int


def vector_request(
    prompt: str | Sequence[int],
    *,
    second: str | None = None,
    rid: str | None = None,
    cache_salt: str = "",
    add_special_tokens: bool = True,
) -> GenerationRequest:
    """Asks for the vector of a prompt, or of a pair of it and a second text."""
    return GenerationRequest(
        prompt=prompt,
        rid=rid,
        cache_salt=cache_salt,
        add_special_tokens=add_special_tokens,
        is_pooled=True,
        second=second,
    )


async def vectors(generation: Generation) -> list[Vector]:
    """Those of all its prompts, in their order.

    Raises:
        RequestFailed: the engine failed on one.
        InvalidRequest: one was aborted.
    """
    found: dict[int, Vector] = {}
    async with aclosing(generation):
        async for pieces in generation:
            for index, piece in pieces:
                sample = generation.samples[index]
                if not piece.vector:
                    why = piece.finish and piece.finish.message
                    raise InvalidRequest(f"The request was aborted: {why or 'by its name'}.")
                values = np.frombuffer(piece.vector, np.float32)
                num_tokens = len(sample.prompt.ids)
                found[index] = Vector(values, sample.rid, num_tokens, piece.num_cached)
    return [found[index] for index in range(len(generation.samples))]


def read_vector_call(
    prompts: str | Sequence[str] | None,
    input_ids: Sequence[int] | Sequence[Sequence[int]] | None,
    *,
    rid: str | None = None,
) -> tuple[list[GenerationRequest], bool]:
    """SGLang's /encode: the requests, and whether a list of answers is wanted.

    Raises:
        InvalidRequest: there is not exactly one of text and ids.
    """
    call = read_call(prompts, input_ids, rid=rid)
    requests = [vector_request(each.prompt, rid=each.rid) for each in call.requests]
    return requests, call.is_list


def encoded(found: Sequence[Vector]) -> list[dict[str, Any]]:
    """SGLang's form of vectors."""
    return [
        {
            "embedding": vector.values.tolist(),
            "meta_info": {
                "id": vector.rid,
                "prompt_tokens": vector.num_tokens,
                "cached_tokens": vector.num_cached,
            },
            "index": index,
        }
        for index, vector in enumerate(found)
    ]


def shortened(vector: np.ndarray, dimensions: int | None) -> np.ndarray:
    """The first `dimensions` numbers of an embedding, with its length 1 again: what models trained
    for that (https://arxiv.org/abs/2205.13147) lose little by.

    Raises:
        InvalidRequest: it has fewer.
    """
    if dimensions is None or dimensions == len(vector):
        return vector
    if dimensions > len(vector):
        raise InvalidRequest(
            f"dimensions is {dimensions}, but this model's embeddings have {len(vector)}.",
            param="dimensions",
        )
    cut = vector[:dimensions]
    return cut / max(float(np.linalg.norm(cut)), 1e-12)
