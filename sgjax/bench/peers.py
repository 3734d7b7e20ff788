"""What other engines reach on the same machine and work, and our goals: configs/bench."""

from collections.abc import Mapping, Sequence
from typing import Any

import msgspec

from sgjax.bench.report import Figure
from sgjax.bench.shapes import read_shape
from sgjax.config_sources import shipped_configs

_SIZES = (
    "architectures",
    "hidden_size",
    "intermediate_size",
    "num_hidden_layers",
    "num_attention_heads",
    "num_key_value_heads",
    "vocab_size",
)
"""Keys of config.json that make two models equally much work."""


class Mark(msgspec.Struct, frozen=True):
    """What a figure is held against."""

    unit: str
    goal: float
    peers: dict[str, float]


class Marks(msgspec.Struct, frozen=True):
    """The marks of one device, number of devices, type and shape of model."""

    device: str
    tp_size: int
    dtype: str
    shape: str
    figures: dict[str, Mark]

    def fit(self, engine: Mapping[str, Any], model: Mapping[str, Any]) -> bool:
        """Whether they were measured on this. `engine`: fields of EngineInfo; `model`: its
        config.json."""
        shape = read_shape(self.shape)
        return all(
            engine[key] == getattr(self, key) for key in ("device", "tp_size", "dtype")
        ) and all(model.get(key) == shape.get(key) for key in _SIZES)


def marks_for(engine: Mapping[str, Any], model: Mapping[str, Any]) -> dict[str, Mark]:
    """Marks by the figure's name; none where nobody measured on such a machine."""
    for path in sorted(shipped_configs("bench").glob("*.json")):
        marks = msgspec.json.decode(path.read_bytes(), type=Marks)
        if marks.fit(engine, model):
            return marks.figures
    return {}


def with_marks(figures: Sequence[Figure], marks: Mapping[str, Mark]) -> list[Figure]:
    """The figures, with goals and peers where there are marks of the same unit."""
    return [
        msgspec.structs.replace(figure, goal=mark.goal, peers=mark.peers)
        if (mark := marks.get(figure.name)) and mark.unit == figure.unit
        else figure
        for figure in figures
    ]
