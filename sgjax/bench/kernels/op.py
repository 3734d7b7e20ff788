"""What a benchmark needs to know of an operation and of the kernels that do it."""

import dataclasses
from collections.abc import Callable, Sequence
from typing import Any, Protocol


class Case(Protocol):
    """One call of an operation, by its sizes."""

    @property
    def name(self) -> str: ...


Arrays = tuple[Any, ...]
Call = Callable[..., Any]
"""A call on the arrays of its case."""


@dataclasses.dataclass(frozen=True, kw_only=True)
class TunedKernel:
    """A kernel whose block sizes are data: an instance of a dataclass of integers."""

    name: str
    takes: Callable[[Any], bool]
    """Whether a case is one of those that it is tuned on."""
    sizes: Callable[[Any, str | None], Any]
    """(case, device kind) -> the sizes that it has now."""
    call: Callable[[Any, Any, bool], Call]
    """(case, sizes, whether to interpret) -> a call with these sizes."""


@dataclasses.dataclass(frozen=True, kw_only=True)
class Op:
    """An operation. Calls of it are timed one after the other in one program."""

    name: str
    real: Sequence[Any]
    """Cases of models that are served."""
    small: Sequence[Any]
    """Odd ones, that an interpreter can do."""
    arrays: Callable[[Any, int], Arrays]
    """(case, seed) -> random arrays for a call."""
    call: Callable[[Any, str | None, bool], Call]
    """(case, implementation, whether to interpret) -> the operation."""
    spread: Callable[[Any, Arrays, int], Arrays]
    """(case, arrays, count) -> arrays for so many calls that find nothing of what they read in the
    device's cache."""
    chain: Callable[[Call, int], Call]
    """(call, count) -> so many calls on such arrays, one after the other: results, the first call's
    first."""
    num_bytes: Callable[[Any], int]
    """Bytes that must be read, each once."""
    num_operations: Callable[[Any], int]
    """Operations of its products."""
    shape_class: Callable[[Any], int]
    """What block sizes depend on; the key of an entry in configs/kernels."""
    kernels: Sequence[TunedKernel]
    bound: float = 5e-3
    """Of the relative error: what rounding the result to bfloat16 comes to."""
