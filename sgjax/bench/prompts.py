"""Token ids for prompts, by chance but always the same."""

from collections.abc import Sequence

import numpy as np

from sgjax.bench.workloads import Job

FIRST_ID, END_ID = 1000, 120000
"""Where the vocabulary is large enough, ids come from here: neither special nor rare tokens."""


def make_prompts(jobs: Sequence[Job], vocab_size: int, seed: int) -> list[list[int]]:
    """A prompt a job; parts of one name hold the same ids."""
    first, end = (FIRST_ID, END_ID) if vocab_size >= END_ID else (0, vocab_size)
    chance = np.random.default_rng(seed)
    known: dict[str, list[int]] = {}
    prompts = []
    for job in jobs:
        prompt: list[int] = []
        for part in job.parts:
            if part.name not in known:
                known[part.name] = chance.integers(first, end, part.num_tokens).tolist()
            prompt += known[part.name]
        prompts.append(prompt)
    return prompts
