"""Tiny models of every family, and the same without one of its features each."""

import dataclasses
import importlib
import pkgutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

from transformers import PreTrainedConfig

SIZES = {
    "vocab_size": 97,
    "hidden_size": 64,
    "intermediate_size": 96,
    "num_hidden_layers": 2,
    "num_attention_heads": 4,
    "num_key_value_heads": 2,
    "max_position_embeddings": 64,
    "head_dim": 16,
}


@dataclasses.dataclass(frozen=True)
class Case:
    """A config, and others that lack one of its features: their logits must be different.

    `publish` makes of a folder that transformers saved what the family's authors publish.
    """

    config: PreTrainedConfig
    without: dict[str, PreTrainedConfig]
    publish: Callable[[Path], None] = lambda folder: None
    """Rewrites the folder that transformers saved in the family's own form."""
    convert: Callable[[Any], tuple[dict[str, Any], dict[str, Any]]] | None = None
    """Gives config.json and the tensors of a family that transformers has not (`harness.save`)."""


def case(
    cls: Any,
    values: dict[str, Any],
    publish: Callable[[Path], None] = lambda folder: None,
    **without: Any,
) -> Case:
    """`without`: feature -> the values (or the class and values) that lack it."""
    values = SIZES | values
    others = {}
    for feature, change in without.items():
        other, change = change if isinstance(change, tuple) else (cls, change)
        others[feature] = other(**values | change)
    return Case(cls(**values), others, publish)


def rope(kind: str, theta: float = 100.0, **params: Any) -> dict[str, Any]:
    return {"rope_parameters": {"rope_type": kind, "rope_theta": theta, **params}}


PLAIN = rope("default")


def of_generators() -> dict[str, Case]:
    """Those of all files here but the encoders'."""
    files = [file.name for file in pkgutil.iter_modules(__path__) if file.name != "encoders"]
    return {
        name: case
        for file in files
        for name, case in importlib.import_module(f"{__name__}.{file}").CASES.items()
    }
