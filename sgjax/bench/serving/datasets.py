"""What `sgjax bench serving` asks a server: conversations of one turn or several."""

import dataclasses
import random
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, Literal

import msgspec

from sgjax.bench.prompts import make_prompts, make_texts
from sgjax.bench.workloads import Job, Part, lognormal_jobs
from sgjax.errors import ConfigError

Ids = list[int]
Messages = list[dict[str, Any]]
Content = Ids | str | Messages

DatasetName = Literal["random", "lognormal", "shared-prefix", "multi-turn", "json", "file"]

_RELEVANT: dict[str, tuple[str, ...]] = {
    "random": ("input_len", "output_len", "range_ratio"),
    "lognormal": (),
    "shared-prefix": ("prefix_len", "num_groups", "input_len", "output_len"),
    "multi-turn": ("num_turns", "input_len", "output_len"),
    "json": ("output_len",),
    "file": ("file", "output_len"),
}


@dataclasses.dataclass(frozen=True, slots=True)
class Turn:
    """What is said, and how many tokens the answer may have."""

    content: Content
    max_tokens: int


Conversation = list[Turn]
"""Each turn follows the answer to the one before it."""


@dataclasses.dataclass(frozen=True, kw_only=True)
class DatasetOptions:
    """Lengths are tokens; of texts, words."""

    name: DatasetName
    num_prompts: int
    input_len: int
    output_len: int
    range_ratio: float
    prefix_len: int
    num_groups: int
    num_turns: int
    file: Path | None
    seed: int

    @property
    def relevant(self) -> dict[str, Any]:
        """Those that this dataset depends on."""
        names = ("name", "num_prompts", *_RELEVANT[self.name], "seed")
        values = {name: getattr(self, name) for name in names}
        return {key: str(each) if isinstance(each, Path) else each for key, each in values.items()}


def make_conversations(options: DatasetOptions, vocab_size: int | None) -> list[Conversation]:
    """The conversations of a dataset; with a vocabulary of ids, otherwise of words.

    Raises:
        ConfigError: a file that cannot be read, or holds something else.
    """
    if options.name == "file":
        return read_conversations(options)
    if options.name == "json":
        return _json_conversations(options)
    jobs = _JOBS[options.name](options, random.Random(options.seed))
    contents: Sequence[Content]
    if vocab_size is None:
        contents = make_texts(jobs, options.seed)
    else:
        contents = make_prompts(jobs, vocab_size, options.seed)
    turns = [Turn(content, job.num_output) for content, job in zip(contents, jobs, strict=True)]
    size = options.num_turns if options.name == "multi-turn" else 1
    return [turns[i : i + size] for i in range(0, len(turns), size)]


def long_turn(num_tokens: int, vocab_size: int | None, seed: int) -> Turn:
    """A prompt like no other, to be read and answered with one token."""
    jobs, seed = [Job((Part("long", num_tokens),), 1)], seed + 1
    if vocab_size is None:
        return Turn(make_texts(jobs, seed)[0], 1)
    return Turn(make_prompts(jobs, vocab_size, seed)[0], 1)


def ignores_eos(name: DatasetName) -> bool:
    """Whether answers go on to their length: they do where only lengths have a meaning."""
    return name not in ("json", "file")


def _random(options: DatasetOptions, chance: random.Random) -> list[Job]:
    def draw(length: int) -> int:
        return chance.randint(max(1, round(length * options.range_ratio)), length)

    return [
        Job((Part(f"own {i}", draw(options.input_len)),), draw(options.output_len))
        for i in range(options.num_prompts)
    ]


def _shared_prefix(options: DatasetOptions, chance: random.Random) -> list[Job]:
    """Groups take turns, so that requests that share a prefix are not neighbours."""
    return [
        Job(
            (
                Part(f"shared {i % options.num_groups}", options.prefix_len),
                Part(f"own {i}", options.input_len),
            ),
            options.output_len,
        )
        for i in range(options.num_prompts)
    ]


def _multi_turn(options: DatasetOptions, chance: random.Random) -> list[Job]:
    count = options.num_prompts * options.num_turns
    return [Job((Part(f"own {i}", options.input_len),), options.output_len) for i in range(count)]


_JOBS: dict[str, Callable[[DatasetOptions, random.Random], list[Job]]] = {
    "random": _random,
    "lognormal": lambda options, chance: list(lognormal_jobs(options.num_prompts)),
    "shared-prefix": _shared_prefix,
    "multi-turn": _multi_turn,
}

_JSON_TASKS = (
    "Describe {subject} as a JSON object with the keys name, kind, age and tags (a list).",
    "Give five facts about {subject} as a JSON list of strings.",
    "Write an order of {number} pieces of {subject} as JSON: item, amount, price and address.",
    "Make a JSON object that says how {subject} compares with {other}: keys same and different.",
)
_JSON_SUBJECTS = (
    "a lighthouse", "an apple tree", "a bicycle", "the moon", "a violin", "a harbour", "green tea",
    "a railway station", "an old library", "a thunderstorm", "a chess board", "a sailing boat",
)  # fmt: skip


def _json_conversations(options: DatasetOptions) -> list[Conversation]:
    chance = random.Random(options.seed)
    conversations = []
    for _ in range(options.num_prompts):
        subject, other = chance.sample(_JSON_SUBJECTS, 2)
        task = chance.choice(_JSON_TASKS)
        text = task.format(subject=subject, other=other, number=chance.randint(2, 99))
        conversations.append([Turn(f"{text} Answer with JSON alone.", options.output_len)])
    return conversations


class _Line(msgspec.Struct, forbid_unknown_fields=True):
    """A line of a dataset's file: one of the first three, and perhaps a length."""

    prompt: str | None = None
    messages: list[dict[str, Any]] | None = None
    input_ids: list[int] | None = None
    max_tokens: int | None = None


def read_conversations(options: DatasetOptions) -> list[Conversation]:
    """The first `num_prompts` lines of a JSONL file; --output-len holds where a line says none."""
    if options.file is None:
        raise ConfigError("The dataset 'file' needs --dataset-file.")
    try:
        lines = options.file.read_text(encoding="utf-8").splitlines()
    except (OSError, UnicodeDecodeError) as error:
        raise ConfigError(f"The dataset {options.file} cannot be read: {error}.") from None
    numbered = [(number, line) for number, line in enumerate(lines, 1) if line.strip()]
    if not numbered:
        raise ConfigError(f"The dataset {options.file} has no lines.")
    return [
        [_read(line, f"{options.file}, line {number}", options.output_len)]
        for number, line in numbered[: options.num_prompts]
    ]


def _read(text: str, where: str, output_len: int) -> Turn:
    try:
        line = msgspec.json.decode(text, type=_Line)
    except msgspec.DecodeError as error:
        raise ConfigError(
            f'{where} is no request: {error}. A line is {{"prompt": text}}, {{"messages": [...]}} '
            'or {"input_ids": [...]}, and may have "max_tokens".'
        ) from None
    contents = [each for each in (line.prompt, line.messages, line.input_ids) if each]
    if len(contents) != 1:
        raise ConfigError(f"{where} must have one of prompt, messages and input_ids, not empty.")
    return Turn(contents[0], output_len if line.max_tokens is None else line.max_tokens)
