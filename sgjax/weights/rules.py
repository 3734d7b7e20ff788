"""The language of checkpoint tables: where a tensor of a checkpoint goes, and how its axes move.

A family's table maps a tensor's name to a parameter and a rearrangement:

    "layers.{}.q_proj.weight": ("blocks.{}.attn.qkv.weight:q", "(k g h) d -> d k g h")
    "layers.{}.k_proj.weight": ("blocks.{}.attn.qkv.weight:k", "(kv h) d -> d k 1 h")

`{}` stands for the layer, `:q` for a named part of a fused parameter. Left of the arrow are the
tensor's axes, right of it the parameter's; letters are those of sgjax/axes.py in lower case,
brackets join axes into one, 1 is an axis that the tensor lacks. `kv` are the checkpoint's own kv
heads: where `kv` becomes `k`, each head is repeated for the devices that share it.
"""

import dataclasses
import math
from collections.abc import Callable, Mapping

import numpy as np

from sgjax.models.family import ModelConfig

Sizes = Mapping[str, int]
Span = tuple[int, int]
"""[start, stop) of an axis."""
Read = Callable[[tuple[slice, ...]], np.ndarray]
"""Reads a slice of a tensor."""


def axis_sizes(cfg: ModelConfig) -> dict[str, int]:
    """How long each lower-case axis of the tables is."""
    return {
        "v": cfg.vocab_size,
        "d": cfg.d_model,
        "f": cfg.d_ff,
        "k": cfg.num_kv_heads,
        "kv": cfg.num_kv_heads // cfg.kv_repeat,
        "g": cfg.group_size,
        "h": cfg.head_size,
    }


@dataclasses.dataclass(frozen=True)
class Rearrangement:
    """`taken`: the tensor's axes, each a product of letters; `given`: the parameter's axes."""

    taken: tuple[tuple[str, ...], ...]
    given: tuple[str, ...]

    @classmethod
    def parse(cls, text: str) -> "Rearrangement":
        left, right = text.split("->")
        rule = cls(_groups(left), tuple(right.split()))
        left_letters = sorted(_target(letter) for group in rule.taken for letter in group)
        if left_letters != sorted(letter for letter in rule.given if letter != "1"):
            raise ValueError(f"the two sides of {text!r} do not have the same axes")
        return rule

    def tensor_shape(self, sizes: Sizes) -> tuple[int, ...]:
        """The shape that the tensor must have."""
        return tuple(math.prod(sizes[letter] for letter in group) for group in self.taken)

    def read(self, read: Read, spans: tuple[Span, ...], sizes: Sizes) -> np.ndarray:
        """What the tensor has for these spans of the parameter's axes, in the parameter's order.

        Only what is needed is read: of a product, a span of its first axis. Rows past the tensor's
        end (a vocabulary padded for the devices) are zero.
        """
        wanted = dict(zip(self.given, spans, strict=True))
        slices, shape, cuts = [], [], []
        for group in self.taken:
            first, *rest = group
            start, stop = _source_span(first, wanted[_target(first)], sizes)
            inner = math.prod(sizes[letter] for letter in rest)
            slices.append(slice(start * inner, stop * inner))
            shape += [stop - start, *(sizes[letter] for letter in rest)]
            cuts += [slice(None), *(slice(*wanted[letter]) for letter in rest)]
        block = read(tuple(slices)).reshape(shape)[tuple(cuts)]
        letters = [letter for group in self.taken for letter in group]
        for axis, letter in enumerate(letters):
            block = _fit(block, axis, letter, wanted[_target(letter)], sizes)
        order = [
            [_target(name) for name in letters].index(name) for name in self.given if name != "1"
        ]
        return block.transpose(order).reshape([stop - start for start, stop in spans])


@dataclasses.dataclass(frozen=True)
class Source:
    """A tensor of the checkpoint, and the parameter (or a named part of one) that it fills."""

    tensor: str
    path: str
    part: str | None
    rule: Rearrangement


def sources(table: Mapping[str, tuple[str, str]], num_layers: int) -> list[Source]:
    """A family's table, written out for all layers."""
    found = []
    for tensor, (target, text) in table.items():
        rule = Rearrangement.parse(text)
        path, _, part = target.partition(":")
        for layer in range(num_layers) if "{}" in tensor else [0]:
            found.append(Source(tensor.format(layer), path.format(layer), part or None, rule))
    return found


def _groups(text: str) -> tuple[tuple[str, ...], ...]:
    groups: list[tuple[str, ...]] = []
    rest = text.strip()
    while rest:
        inside, _, rest = rest[1:].partition(")") if rest[0] == "(" else rest.partition(" ")
        groups.append(tuple(inside.split()))
        rest = rest.strip()
    return tuple(groups)


def _target(letter: str) -> str:
    return "k" if letter == "kv" else letter


def _source_span(letter: str, span: Span, sizes: Sizes) -> Span:
    """Which of the tensor's entries a span of the parameter's axis needs."""
    start, stop = span
    if letter == "kv":
        repeat = sizes["k"] // sizes["kv"]
        return start // repeat, -(-stop // repeat)
    return min(start, sizes[letter]), min(stop, sizes[letter])


def _fit(block: np.ndarray, axis: int, letter: str, span: Span, sizes: Sizes) -> np.ndarray:
    """Repeats kv heads, and pads what lies past the tensor's end with zeros."""
    start, stop = span
    if letter == "kv":
        repeat = sizes["k"] // sizes["kv"]
        heads = np.arange(start, stop) // repeat - start // repeat
        return block if repeat == 1 else block.take(heads, axis=axis)
    missing = stop - start - block.shape[axis]
    if not missing:
        return block
    return np.pad(block, [(0, missing if i == axis else 0) for i in range(block.ndim)])
