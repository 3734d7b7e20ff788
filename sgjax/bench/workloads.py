"""The workloads of `sgjax bench offline`: lengths, what prompts share, and what is measured."""

import dataclasses
import random
from collections.abc import Iterator, Sequence
from typing import Literal

from sgjax.config import did_you_mean
from sgjax.errors import ConfigError

Measure = Literal["start", "decode", "prefill", "whole", "beside", "encode"]
"""start: how long the engine takes until it serves, and until nothing compiles any more; and how
many tokens its cache holds.
decode: a step of decoding, with the prompts in the prefix cache.
prefill: fresh prompts, until all have their first token.
whole: everything, once.
beside: a step of decoding, while bound requests decode too.
encode: fresh texts, until all have their vector."""

GROUPS = ("decode", "prefill", "throughput", "json", "encode")
"""What several workloads are called together: the beginnings of their names."""
_BY_NAME_ONLY = ("json", "encode")
"""Groups that are not among "all": the first needs a tokenizer, the other a model of vectors."""

DECODE_BATCHES = (1, 8, 32, 64, 128, 256)


@dataclasses.dataclass(frozen=True, slots=True)
class Part:
    """A run of tokens; within a workload, parts of one name are the same tokens."""

    name: str
    num_tokens: int


@dataclasses.dataclass(frozen=True, slots=True)
class Job:
    """One request: the parts of its prompt, and how many tokens it generates."""

    parts: tuple[Part, ...]
    num_output: int

    @property
    def num_prompt(self) -> int:
        return sum(part.num_tokens for part in self.parts)


@dataclasses.dataclass(frozen=True, slots=True)
class Workload:
    """Requests that are submitted at once, and what is measured of them."""

    name: str
    measure: Measure
    jobs: tuple[Job, ...] = ()
    is_rate: bool = False
    """Whether tokens a second are what is looked at: of "prefill" instead of milliseconds, of
    "whole" beside the seconds."""
    bound_to: str | None = None
    """The name in `schemas.CONSTRAINTS` of what outputs must match; it ends those of "whole"."""
    bound_jobs: tuple[Job, ...] = ()
    """Of "beside": the requests that are bound, the others are not."""

    @property
    def num_prompt(self) -> int:
        return sum(job.num_prompt for job in self.jobs)

    @property
    def num_output(self) -> int:
        return sum(job.num_output for job in self.jobs)

    @property
    def longest(self) -> int:
        """Tokens of the longest request, prompt and output."""
        return max((job.num_prompt + job.num_output for job in self.jobs), default=0)


def workloads(scale: float = 1.0) -> dict[str, Workload]:
    """All workloads by name. `scale` multiplies how many requests there are, and all lengths."""
    return {workload.name: workload for workload in _all(_Scale(scale))}


@dataclasses.dataclass(frozen=True)
class _Scale:
    factor: float

    def __call__(self, count: int, least: int = 1) -> int:
        return max(least, round(count * self.factor))


def _all(size: _Scale) -> Iterator[Workload]:
    yield Workload("start", "start")
    for batch in DECODE_BATCHES:
        # The first of these tokens comes from the prompt: 128 steps of decoding.
        jobs = apart(size(batch), size(1024), size(128) + 1)
        yield Workload(f"decode-{batch}", "decode", jobs)
    for count, length in ((1, 1024), (1, 8192), (8, 2048), (32, 1024)):
        jobs = apart(size(count), size(length), 1)
        yield Workload(f"prefill-{count}x{length}", "prefill", jobs, is_rate=count > 1)
    for num_prompt, num_output in ((1024, 128), (512, 512)):
        jobs = apart(size(512), size(num_prompt), size(num_output))
        yield Workload(f"throughput-{num_prompt}-{num_output}", "whole", jobs)
    jobs = tuple(_resized(job, size) for job in lognormal_jobs(1000)[: size(1000)])
    yield Workload("lognormal", "whole", jobs)
    yield Workload("shared-prefix", "whole", _shared_prefix(size))
    yield Workload("tree", "whole", _tree(size))
    for kind in ("character", "survey"):
        example = Part(f"example of a {kind}", size(192))
        jobs = tuple(Job((example, Part(f"own {i}", size(64))), 512) for i in range(size(32)))
        yield Workload(f"json-{kind}", "whole", jobs, is_rate=True, bound_to=kind)
    jobs = apart(size(64), size(1024), size(128) + 1)
    yield Workload("json-decode-64", "decode", jobs, bound_to="string")
    half = len(jobs) // 2
    for name, kind in (("beside", "string"), ("beside-jumps", "list")):
        bound = {"bound_to": kind, "bound_jobs": jobs[half:]}
        yield Workload(f"json-{name}-64", "beside", jobs[:half], **bound)
    for count in (32, 256):
        jobs = apart(size(count), size(512), 0)
        yield Workload(f"encode-{count}x512", "encode", jobs, is_rate=True)


def batch_workloads(*, batch_size: int, input_len: int, output_len: int) -> list[Workload]:
    """One batch of requests that share nothing: their prompts, their decoding, and all of it."""
    jobs = apart(batch_size, input_len, output_len)
    return [
        Workload("prefill", "prefill", apart(batch_size, input_len, 1)),
        Workload("decode", "decode", jobs),
        Workload("whole", "whole", jobs, is_rate=True),
    ]


def apart(count: int, num_prompt: int, num_output: int) -> tuple[Job, ...]:
    """Requests that share nothing."""
    return tuple(Job((Part(f"own {i}", num_prompt),), num_output) for i in range(count))


def _resized(job: Job, size: _Scale) -> Job:
    parts = tuple(Part(part.name, size(part.num_tokens)) for part in job.parts)
    return Job(parts, size(job.num_output))


def lognormal_jobs(count: int) -> list[Job]:
    """Lengths as chats have them: those of all prompts are drawn first, then of all outputs."""
    chance = random.Random(1)
    prompts = [min(max(8, int(chance.lognormvariate(5.3, 1.0))), 4096) for _ in range(count)]
    outputs = [min(max(8, int(chance.lognormvariate(5.2, 0.8))), 1024) for _ in range(count)]
    return [
        Job((Part(f"own {i}", num_prompt),), num_output)
        for i, (num_prompt, num_output) in enumerate(zip(prompts, outputs, strict=True))
    ]


def _shared_prefix(size: _Scale) -> tuple[Job, ...]:
    shared = Part("shared", size(4096))
    return tuple(Job((shared, Part(f"own {i}", size(64))), size(32)) for i in range(size(256)))


def _tree(size: _Scale) -> tuple[Job, ...]:
    """Groups that share a prefix within a prefix that all share."""
    trunk = Part("trunk", size(1024))
    return tuple(
        Job((trunk, Part(f"branch {i}", size(512)), Part(f"leaf {i} {j}", size(64))), size(64))
        for i in range(size(16))
        for j in range(size(16))
    )


def select(names: Sequence[str], scale: float = 1.0) -> list[Workload]:
    """The workloads of these names, each once; "all", and a name of GROUPS, are several.

    Raises:
        ConfigError: there is none of a name, or no name at all.
    """
    known = workloads(scale)
    choices = ["all", *GROUPS, *known]
    if not names:
        raise ConfigError(f"Name a workload: {', '.join(choices)}.")
    for name in names:
        if name not in choices:
            near = did_you_mean(name, choices)
            raise ConfigError(f"There is no workload {name!r}.{near} Known: {', '.join(choices)}.")
    chosen = [
        name
        for name in known
        if {name, _group(name)} & set(names)
        or ("all" in names and _group(name) not in _BY_NAME_ONLY)
    ]
    return [known[name] for name in chosen]


def _group(name: str) -> str | None:
    return next((group for group in GROUPS if name.startswith(f"{group}-")), None)
