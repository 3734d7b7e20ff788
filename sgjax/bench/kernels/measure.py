"""How fast an operation is, case by case, beside what the device can do at best."""

from collections.abc import Iterator
from typing import Any

import jax

from sgjax.bench.display import output_console, progress_bar
from sgjax.bench.kernels.check import is_right, reference, relative_error
from sgjax.bench.kernels.options import KernelOptions
from sgjax.bench.kernels.programs import Program, compile_all
from sgjax.bench.kernels.timing import Ceilings, measure_ceilings
from sgjax.bench.report import Figure, Findings, now
from sgjax.errors import BenchmarkFailed
from sgjax.kernels_pallas.block_sizes import device_kind


def run_kernels(options: KernelOptions) -> Findings:
    """Measures every case, after its result was found to be the reference's.

    Raises:
        BenchmarkFailed: a case cannot run, or its result is wrong.
    """
    started = now()
    with progress_bar("copying, multiplying"):
        ceilings = measure_ceilings(is_large=jax.default_backend() == "gpu")
    figures: list[Figure] = []
    for case in options.cases:
        with progress_bar(case.name):
            found = list(_measure(options, case, ceilings))
        figures += found
        _say(found)
    observed = {
        "copy": f"{ceilings.copy / 1e12:.3g} TB/s, read and written",
        "product": f"{ceilings.matmul / 1e12:.4g} TFLOP/s in bfloat16",
    }
    return Findings(started, settings_of(options), observed, figures)


def settings_of(options: KernelOptions) -> dict[str, Any]:
    return {
        "device": device_kind() or jax.default_backend(),
        "op": options.op.name,
        "implementation": options.implementation or "auto",
        "interpret": options.interpret,
        "calls": options.num_calls,
        "runs": options.runs,
        "seed": options.seed,
    }


def _measure(options: KernelOptions, case: Any, ceilings: Ceilings) -> Iterator[Figure]:
    op = options.op
    arrays = op.arrays(case, options.seed)
    call = op.call(case, options.implementation, options.interpret)
    spread = op.spread(case, arrays, options.num_calls)
    (program,) = compile_all(op, [(call, spread)], options.num_calls)
    if program.failure is not None:
        raise BenchmarkFailed(f"{case.name} does not run here: {program.failure}")
    error = _check(options, case, arrays, program) if options.is_checked else None
    seconds = program.seconds_per_call(options.runs)
    rates = {
        "TB/s": (op.num_bytes(case) / seconds, ceilings.copy, "of copy"),
        "TFLOP/s": (op.num_operations(case) / seconds, ceilings.matmul, "of product"),
    }

    def figure(part: str, value: float, unit: str, *, is_rate: bool = True) -> Figure:
        return Figure(
            name=f"{case.name}: {part}", of=case.name, part=part, value=value, unit=unit,
            is_more_better=is_rate,
        )  # fmt: skip

    yield figure("us", seconds * 1e6, "us", is_rate=False)
    for unit, (rate, ceiling, part) in rates.items():
        yield figure(unit, rate / 1e12, unit)
        yield figure(part, 100 * rate / ceiling, "%")
    if error is not None:
        yield figure("error", error, "", is_rate=False)


def _check(options: KernelOptions, case: Any, arrays: Any, program: Program) -> float:
    error = relative_error(program.result(), reference(options.op, case, arrays))
    if not is_right(options.op, error):
        raise BenchmarkFailed(f"{case.name} is wrong: it is off the reference by {error:.2g}.")
    return error


def _say(figures: list[Figure]) -> None:
    values = ", ".join(f"{figure.value:.4g} {figure.unit or figure.part}" for figure in figures)
    output_console().print(f"{figures[0].of:<36} {values}", soft_wrap=True, markup=False)
