"""What a checkpoint says of generation: which tokens end a text, and how to sample by default."""

import dataclasses
import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from sgjax.errors import ConfigError

SAMPLING = ("temperature", "top_p", "top_k", "min_p", "repetition_penalty")


@dataclasses.dataclass(frozen=True)
class GenerationConfig:
    """`sampling` holds what the checkpoint recommends, by the names of SamplingParams."""

    eos_ids: tuple[int, ...] = ()
    sampling: Mapping[str, float] = dataclasses.field(default_factory=dict)


def read_generation_config(model_dir: str | Path) -> GenerationConfig:
    """Reads generation_config.json; what it does not say of EOS is taken from config.json.

    Raises:
        ConfigError: where a file is not JSON, or a value of another type than it should be.
    """
    folder = Path(model_dir)
    generation = _read(folder / "generation_config.json")
    eos = generation.get("eos_token_id")
    if eos is None:
        eos = _read(folder / "config.json").get("eos_token_id")
    return GenerationConfig(_eos_ids(eos, folder), _sampling(generation, folder))


def _read(path: Path) -> Mapping[str, Any]:
    try:
        values = json.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        return {}
    except ValueError as error:
        raise ConfigError(f"{path} is not JSON: {error}") from None
    if not isinstance(values, dict):
        raise ConfigError(f"{path} must hold a JSON object, not {type(values).__name__}.")
    return values


def _eos_ids(eos: Any, folder: Path) -> tuple[int, ...]:
    ids = [] if eos is None else eos if isinstance(eos, list) else [eos]
    if any(isinstance(token, bool) or not isinstance(token, int) or token < 0 for token in ids):
        raise ConfigError(
            f"{folder}: eos_token_id = {eos!r} must be a token id or a list of token ids."
        )
    return tuple(dict.fromkeys(ids))


def _sampling(generation: Mapping[str, Any], folder: Path) -> dict[str, float]:
    """The recommended values. A top_k of 0 means all tokens, which is -1 to SamplingParams."""
    sampling = {}
    for name in SAMPLING:
        value = generation.get(name)
        if value is None:
            continue
        if isinstance(value, bool) or not isinstance(value, int | float):
            raise ConfigError(
                f"{folder}/generation_config.json: {name} = {value!r} must be a number."
            )
        sampling[name] = -1 if name == "top_k" and value == 0 else value
    return sampling
