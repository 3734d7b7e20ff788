"""The language of checkpoint tables: where a tensor of a checkpoint goes, and how its axes move.

A family's table maps a tensor's name to a parameter and a rearrangement:

    "layers.{}.q_proj.weight": ("blocks.{}.attn.qkv.weight:q", "(k g h) d -> d k g h")
    "layers.{}.k_proj.weight": ("blocks.{}.attn.qkv.weight:k", "(kv h) d -> d k 1 h")

`{}` stands for the layer, `:q` for a named part of a fused parameter. Left of the arrow are the
tensor's axes, right of it the parameter's; letters are those of sgjax/axes.py in lower case, round
brackets join axes into one, 1 is an axis of one entry.

A tensor that holds several things end to end fills several parameters: its name maps to a list, and
square brackets say what lies there, and with a star what is meant:

    "layers.{}.gate_up.weight": [
        ("blocks.{}.mlp.gate_up.weight:gate", "[f*|f] d -> d 1 f"),
        ("blocks.{}.mlp.gate_up.weight:up", "[f|f*] d -> d 1 f"),
    ]

Where entries of the first axis are tensors by themselves, `{n}` in the name is their number:

    "layers.{}.q_norms.{n}.weight": ("blocks.{}.attn.q_norm.scale", "(k g) h -> k g h")

Where each expert has a tensor of its own, `{e}` stands for the expert in the tensor's name, and the
parameter's first axis is e, which the tensor lacks; a device reads its own experts only:

    "layers.{}.experts.{e}.up.weight": ("blocks.{}.mlp.gate_up:up", "x d -> e d 1 x")

`+ 1` behind the tensor's axes adds one to every entry. Some letters are of the checkpoint alone:

    kv   its own kv heads; where it becomes k, each is repeated for the devices that share it
    fs   the width of the expert that all tokens share: F in its parameters
    r    how often that is: "(kv r)" are as many as k, without repeating
    i    the features of a head where those that RoPE turns together lie side by side; they become
         h, where each lies half of the turned features behind its partner
    p    the positions that a learned vector is added for
    t    the types of tokens that one is added for
    m    the model's width, of a map from it to it: "m d -> d m"
"""

import dataclasses
import functools
import math
import re
from collections.abc import Callable, Iterable, Iterator, Mapping

import numpy as np

from sgjax.models.family import ModelConfig, Table

Sizes = Mapping[str, int]
Span = tuple[int, int]
"""[start, stop) of an axis."""
Slices = tuple[slice, ...]
Read = Callable[[Slices], np.ndarray]
"""Reads a slice of a tensor."""
Product = tuple[str, ...]
"""Letters that one axis, or a part of it, is the product of; 1 is the product of none."""

Wanted = tuple[tuple[Product, Span], ...]
"""The parameter's axes, and what is wanted of each."""

TURNED = "turned"
"""The name in Sizes of how many features of a head RoPE turns."""


def axis_sizes(cfg: ModelConfig) -> dict[str, int]:
    """How long each lower-case axis of the tables is."""
    moe, mla = cfg.moe, cfg.mla
    of_experts = {"e": moe.num_experts, "x": moe.d_expert, "fs": moe.d_shared} if moe else {}
    of_latents = {}
    if mla is not None:
        of_latents = {"a": mla.kv_latent, "u": mla.num_unturned, "j": mla.value_size}
        of_latents["q"] = mla.q_latent or 0
    of_all = {
        "v": cfg.vocab_size,
        "d": cfg.d_model,
        "f": cfg.d_ff,
        "k": cfg.num_kv_heads,
        "kv": cfg.num_kv_heads // cfg.kv_repeat,
        "r": cfg.kv_repeat,
        "g": cfg.group_size,
        "h": cfg.head_size,
        "i": cfg.head_size,
        "p": cfg.num_positions,
        "t": cfg.num_token_types,
        "m": cfg.d_model,
        "y": len(cfg.pooling.labels) if cfg.pooling else 0,
        TURNED: cfg.rope.num_turned(cfg.head_size),
    }
    return of_all | of_experts | of_latents


def num_experts(cfg: ModelConfig) -> int:
    return cfg.moe.num_experts if cfg.moe else 0


@dataclasses.dataclass(frozen=True)
class Factor:
    """A factor of a tensor's axis: the product that is meant, and those that lie around it."""

    letters: Product
    before: tuple[Product, ...] = ()
    after: tuple[Product, ...] = ()

    def span(self, sizes: Sizes) -> Span:
        """Where what is meant lies."""
        start = sum(_size(product, sizes) for product in self.before)
        return start, start + _size(self.letters, sizes)

    def size(self, sizes: Sizes) -> int:
        return self.span(sizes)[1] + sum(_size(product, sizes) for product in self.after)


@dataclasses.dataclass(frozen=True)
class Rearrangement:
    """`taken`: the tensor's axes, each a product of factors; `given`: the parameter's."""

    taken: tuple[tuple[Factor, ...], ...]
    given: tuple[Product, ...]
    plus: int = 0

    @classmethod
    def parse(cls, text: str) -> "Rearrangement":
        left, right = text.split("->")
        left, _, plus = left.partition("+")
        rule = cls(
            tuple(_factors(axis) for axis in _words(left)),
            tuple(_product(axis) for axis in _words(right)),
            int(plus or 0),
        )
        found = sorted(rule._target(letter) for letter in rule._letters)
        if found != sorted(letter for product in rule.given for letter in product):
            raise ValueError(f"the two sides of {text!r} do not have the same axes")
        return rule

    def tensor_shape(self, sizes: Sizes) -> tuple[int, ...]:
        """The shape that the tensor must have."""
        return tuple(math.prod(factor.size(sizes) for factor in axis) for axis in self.taken)

    def given_shape(self, sizes: Sizes) -> tuple[int, ...]:
        """The shape of what the tensor gives."""
        return tuple(_size(product, sizes) for product in self.given)

    def read(self, read: Read, spans: tuple[Span, ...], sizes: Sizes) -> np.ndarray:
        """What the tensor has for these spans of the parameter's axes, in the parameter's order.

        Only what is needed is read: of a product, a span of its first axis. Rows past the tensor's
        end (a vocabulary padded for the devices) are zero.
        """
        wanted = tuple(zip(self.given, spans, strict=True))
        needed = {letter: self._needed(letter, wanted, sizes) for letter in self._letters}
        slices, factors, cuts, shape = [], [], [], []
        for axis in self.taken:
            first, *rest = axis
            start, stop = needed[first.letters[0]] if first.letters else (0, 1)
            width = _size(first.letters[1:], sizes)
            begin = first.span(sizes)[0]
            inner = math.prod(factor.size(sizes) for factor in rest)
            slices.append(slice((begin + start * width) * inner, (begin + stop * width) * inner))
            factors += [(stop - start) * width, *(factor.size(sizes) for factor in rest)]
            cuts += [slice(None), *(slice(*factor.span(sizes)) for factor in rest)]
            shape += [stop - start] if first.letters else []
            shape += [sizes[letter] for letter in first.letters[1:]]
            shape += [sizes[letter] for factor in rest for letter in factor.letters]
            for letter in self._letters_of(axis)[1:]:
                needed[letter] = (0, sizes[letter])
        block = read(tuple(slices)).reshape(factors)[tuple(cuts)].reshape(shape)
        if self.plus:
            block = block.astype(np.float32) + np.float32(self.plus)
        for at, letter in enumerate(self._letters):
            block = self._fit(block, at, letter, wanted, sizes)
        return self._give(block, wanted, needed, sizes)

    def _give(
        self,
        block: np.ndarray,
        wanted: Wanted,
        needed: Mapping[str, Span],
        sizes: Sizes,
    ) -> np.ndarray:
        """The block in the parameter's order, cut to what is wanted."""
        names = [self._target(letter) for letter in self._letters]
        order = [names.index(letter) for product in self.given for letter in product]
        block = block.transpose(order)
        at, shape, cuts = 0, [], []
        for product, (start, stop) in wanted:
            shape.append(math.prod(block.shape[at : at + len(product)]))
            at += len(product)
            first = 0
            if product and shape[-1] != stop - start:
                source = next(x for x in self._letters if self._target(x) == product[0])
                first = start - needed[source][0] * _size(product[1:], sizes)
            cuts.append(slice(first, first + stop - start))
        return block.reshape(shape)[tuple(cuts)]

    @property
    def _letters(self) -> list[str]:
        """The tensor's, in order."""
        return [letter for axis in self.taken for letter in self._letters_of(axis)]

    @staticmethod
    def _letters_of(axis: tuple[Factor, ...]) -> list[str]:
        return [letter for factor in axis for letter in factor.letters]

    def _target(self, letter: str) -> str:
        """What becomes of a letter of the tensor's."""
        if letter == "i":
            return "h"
        is_kept = any(letter in product for product in self.given)
        return "k" if letter == "kv" and not is_kept else letter

    def _needed(self, letter: str, wanted: Wanted, sizes: Sizes) -> Span:
        """Which of the tensor's entries along a letter are needed."""
        target = self._target(letter)
        product, (start, stop) = _with(target, wanted)
        if product[0] != target:
            return 0, sizes[letter]
        width = _size(product[1:], sizes)
        if letter != target and letter == "kv":
            width *= sizes["r"]
        return min(start // width, sizes[letter]), min(-(-stop // width), sizes[letter])

    def _fit(
        self, block: np.ndarray, at: int, letter: str, wanted: Wanted, sizes: Sizes
    ) -> np.ndarray:
        """Repeats kv heads, parts features that turn together, pads what the tensor lacks."""
        if letter == "i":
            return block.take(_parted(sizes), axis=at)
        target = self._target(letter)
        product, (start, stop) = _with(target, wanted)
        if product != (target,):
            return block
        if letter != target:
            heads = np.arange(start, stop) // sizes["r"] - start // sizes["r"]
            return block if sizes["r"] == 1 else block.take(heads, axis=at)
        missing = stop - max(start, sizes[letter])
        if missing <= 0:
            return block
        return np.pad(block, [(0, missing if axis == at else 0) for axis in range(block.ndim)])


@dataclasses.dataclass(frozen=True)
class Source:
    """A tensor of the checkpoint, and the parameter (or a named part of one) that it fills."""

    tensor: str
    """Its name; with `{n}`, the names of the entries of its first axis."""
    path: str
    part: str | None
    rule: Rearrangement
    expert: int | None = None
    """Which entry of the parameter's first axis it fills, where it does not fill all of them."""

    def tensors(self, sizes: Sizes) -> dict[str, tuple[int, ...]]:
        """The tensors of the checkpoint by name, and the shape that each must have."""
        shape = self.rule.tensor_shape(sizes)
        if not self._is_numbered:
            return {self.tensor: shape}
        return {self._entry(number): shape[1:] for number in range(shape[0])}

    def read(
        self, read: Callable[[str, Slices], np.ndarray], spans: tuple[Span, ...], sizes: Sizes
    ) -> np.ndarray:
        """What the tensors have for these spans of the parameter's axes, in its order."""

        def stacked(slices: Slices) -> np.ndarray:
            numbers, *rest = slices
            entries = range(numbers.start, numbers.stop)
            return np.stack([read(self._entry(number), tuple(rest)) for number in entries])

        whole = functools.partial(read, self.tensor)
        return self.rule.read(stacked if self._is_numbered else whole, spans, sizes)

    @property
    def _is_numbered(self) -> bool:
        return "{n}" in self.tensor

    def _entry(self, number: int) -> str:
        return self.tensor.format(n=number)


def sources(table: Table, num_layers: int, num_experts: int = 0) -> list[Source]:
    """A family's table, written out for all layers, and all experts."""
    found = []
    for tensor, targets in table.items():
        for target, text in [targets] if isinstance(targets, tuple) else targets:
            path, _, part = target.partition(":")
            experts: Iterable[int | None] = [None]
            if "{e}" in tensor:
                experts, text = range(num_experts), _of_one_expert(text)
            rule = Rearrangement.parse(text)
            for layer in range(num_layers) if "{}" in tensor else [0]:
                for expert in experts:
                    name = tensor.format(layer, e=expert, n="{n}")
                    found.append(Source(name, path.format(layer), part or None, rule, expert))
    return found


def _of_one_expert(text: str) -> str:
    """What a rule says of an entry of the parameter's first axis."""
    taken, given = text.split("->")
    first, _, rest = given.strip().partition(" ")
    if first != "e":
        raise ValueError(f"{text!r} is for a tensor of one expert: its first axis must become e")
    return f"{taken}-> {rest}"


def _with(letter: str, wanted: Wanted) -> tuple[Product, Span]:
    return next(entry for entry in wanted if letter in entry[0])


def _size(product: Product, sizes: Sizes) -> int:
    return math.prod(sizes[letter] for letter in product)


def _parted(sizes: Sizes) -> list[int]:
    """Of features that lie in pairs: the first of each pair, the second of each, and the rest."""
    turned = sizes[TURNED]
    return [*range(0, turned, 2), *range(1, turned, 2), *range(turned, sizes["i"])]


def _words(text: str) -> Iterator[str]:
    """Axes: letters, and what stands in brackets, which may hold others."""
    depth, word = 0, ""
    for char in f"{text} ":
        depth += (char in "([") - (char in ")]")
        if depth or not char.isspace():
            word += char
        elif word:
            yield word
            word = ""


def _factors(axis: str) -> tuple[Factor, ...]:
    """`(kv [g*|1] h)` or one of its factors."""
    inside = _words(axis[1:-1]) if axis.startswith("(") else [axis]
    return tuple(_factor(word) for word in inside)


def _factor(word: str) -> Factor:
    if not word.startswith("["):
        return Factor(_product(word))
    parts = word[1:-1].split("|")
    (meant,) = (i for i, part in enumerate(parts) if part.endswith("*"))
    products = tuple(_product(part.rstrip("*")) for part in parts)
    return Factor(products[meant], products[:meant], products[meant + 1 :])


def _product(word: str) -> Product:
    return tuple(letter for letter in re.findall(r"\w+", word) if letter != "1")
