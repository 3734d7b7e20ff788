"""Prompts by chance, but always the same: token ids, or words."""

from collections.abc import Callable, Sequence
from typing import TypeVar

import numpy as np

from sgjax.bench.workloads import Job

FIRST_ID, END_ID = 1000, 120000
"""Where the vocabulary is large enough, ids come from here: neither special nor rare tokens."""

_COMMON = (
    "the of and to in is that it was for on are as with his they at be this from have or by one "
    "had not but what all were when we there can an your which their said if do will each about "
    "how up out them then she many some so these would other into has more her two like him see "
    "time could no make than first been its who now people my made over did down only way find "
    "use may water long little very after words called just where most know get through back much "
    "before go good new write our used me man too any day same right look think also around "
    "another came come work three word must because does part even place well such here take why "
    "things help put years different away again off went old number great tell men say small "
    "every found still between name should home big give air line set own under read last never"
)
WORDS = _COMMON.split()
"""Common enough to be a token each in most vocabularies."""

Token = TypeVar("Token")


def make_prompts(jobs: Sequence[Job], vocab_size: int, seed: int) -> list[list[int]]:
    """A prompt of token ids a job; parts of one name hold the same ids."""
    first, end = (FIRST_ID, END_ID) if vocab_size >= END_ID else (0, vocab_size)
    chance = np.random.default_rng(seed)
    return _joined(jobs, lambda count: chance.integers(first, end, count).tolist())


def make_texts(jobs: Sequence[Job], seed: int) -> list[str]:
    """A text a job, of as many words as it has tokens; parts of one name hold the same words."""
    chance = np.random.default_rng(seed)

    def draw(count: int) -> list[str]:
        return [WORDS[i] for i in chance.integers(0, len(WORDS), count)]

    return [" ".join(words) for words in _joined(jobs, draw)]


def _joined(jobs: Sequence[Job], draw: Callable[[int], list[Token]]) -> list[list[Token]]:
    known: dict[str, list[Token]] = {}
    prompts = []
    for job in jobs:
        prompt: list[Token] = []
        for part in job.parts:
            if part.name not in known:
                known[part.name] = draw(part.num_tokens)
            prompt += known[part.name]
        prompts.append(prompt)
    return prompts
