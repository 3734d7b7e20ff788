"""What a run of `sgjax bench kernels` depends on."""

import argparse
import dataclasses
from pathlib import Path
from typing import Any

import jax

from sgjax.bench.kernels import attention, drawing, latents, mixtures, products
from sgjax.bench.kernels.op import Op
from sgjax.errors import ConfigError

OPS = (attention.OP, drawing.OP, latents.OP, mixtures.OP, products.OP)


@dataclasses.dataclass(frozen=True, kw_only=True)
class KernelOptions:
    """All of it."""

    op: Op
    cases: tuple[Any, ...]
    implementation: str | None
    interpret: bool
    is_checked: bool
    num_calls: int
    """Of one program."""
    runs: int
    """Of a program; the median counts."""
    seed: int
    kernels: tuple[str, ...]
    """Of --tune: those to tune."""
    budget_s: float
    file: Path | None
    """Of --tune: where to write the sizes; None: where they are read from."""


def options_from(parsed: argparse.Namespace) -> KernelOptions:
    """The options that flags say.

    Raises:
        ConfigError: there is no such operation, case or kernel, or nothing to tune.
    """
    on_gpu = jax.default_backend() == "gpu"
    op = _named(OPS, parsed.op, "operation")
    if parsed.tune and not op.kernels:
        raise ConfigError(f"{op.name} has no block sizes to tune.")
    is_real = (parsed.suite or ("real" if on_gpu else "small")) == "real"
    is_quick = parsed.interpret or not on_gpu
    kernels = [_named(op.kernels, name, "kernel").name for name in parsed.kernels or ()]
    return KernelOptions(
        op=op,
        cases=_cases(op.real if is_real else op.small, parsed.cases, parsed.head_size),
        implementation=parsed.implementation,
        interpret=parsed.interpret,
        is_checked=not parsed.no_check,
        num_calls=1 if is_quick else 16,
        runs=3 if is_quick else 15,
        seed=parsed.seed,
        kernels=tuple(kernels) or tuple(kernel.name for kernel in op.kernels),
        budget_s=parsed.budget,
        file=parsed.write,
    )


def _named(things: Any, name: str, what: str) -> Any:
    known = {thing.name: thing for thing in things}
    if name not in known:
        raise ConfigError(f"There is no {what} {name!r}. Known: {', '.join(known)}.")
    return known[name]


def _cases(cases: Any, parts: list[str] | None, head_sizes: list[int] | None) -> tuple[Any, ...]:
    """Those whose name has one of the parts, each with every head size that is asked for."""
    found = [case for case in cases if not parts or any(part in case.name for part in parts)]
    if not found:
        names = "; ".join(case.name for case in cases)
        raise ConfigError(f"No case is called like {', '.join(parts or ())}. There are: {names}.")
    if not head_sizes:
        return tuple(found)
    if not hasattr(found[0], "head"):
        raise ConfigError("--head-size is for operations on heads: leave it out.")
    return tuple(
        dataclasses.replace(case, head=size, name=f"{case.name}, heads of {size}")
        for size in head_sizes
        for case in found
    )
