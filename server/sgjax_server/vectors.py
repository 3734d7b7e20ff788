"""Vectors for routes: of prompts as clients send them."""

import time
import uuid
from collections.abc import Sequence
from typing import Any

import numpy as np

from sgjax.front.request import GenerationRequest
from sgjax.front.vectors import Vector, vector_request, vectors
from sgjax_server.service import Service


def listed(prompts: Any) -> list[Any]:
    """One or several, as prompts.check_prompts has them."""
    return prompts if isinstance(prompts, list) else [prompts]


async def vectors_of(service: Service, prompts: Sequence[Any]) -> list[Vector]:
    """The vector of each."""
    return await started(service, [vector_request(prompt) for prompt in prompts])


async def started(service: Service, requests: list[GenerationRequest]) -> list[Vector]:
    """The vectors that are asked for; raises what Service.start does."""
    return await vectors(await service.start(requests))


def usage(found: Sequence[Vector]) -> dict[str, int]:
    """As OpenAI has it."""
    count = sum(vector.num_tokens for vector in found)
    return {"prompt_tokens": count, "total_tokens": count}


def listing(
    service: Service, kind: str, data: list[Any], found: Sequence[Vector]
) -> dict[str, Any]:
    """A list of results, in the form of vLLM's routes."""
    return {
        "id": f"{kind}-{uuid.uuid4().hex}",
        "object": "list",
        "created": int(time.time()),
        "model": service.model_name,
        "data": data,
        "usage": usage(found),
    }


def probabilities(scores: np.ndarray) -> np.ndarray:
    """Of labels, by their scores: of one alone by the logistic function, of several by softmax."""
    wide = scores.astype(np.float64)
    if len(wide) == 1:
        return 1 / (1 + np.exp(-wide))
    shifted = np.exp(wide - wide.max())
    return shifted / shifted.sum()
