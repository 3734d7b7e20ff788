"""`sgjax bench kernels --tune`: searches block sizes on this device, and writes them down."""

import time
from collections import defaultdict
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from sgjax.bench.display import output_console, progress_bar
from sgjax.bench.kernels.check import is_right, reference, relative_error
from sgjax.bench.kernels.measure import settings_of
from sgjax.bench.kernels.op import Arrays, TunedKernel
from sgjax.bench.kernels.options import KernelOptions
from sgjax.bench.kernels.programs import CANNOT_RUN, Program, compile_all, reason
from sgjax.bench.kernels.sizes_file import read_candidates, sizes_path, write_sizes
from sgjax.bench.kernels.tune import Trial, Tuned, search
from sgjax.bench.report import Figure, Findings, now
from sgjax.errors import ConfigError
from sgjax.kernels_pallas.block_sizes import device_kind


def run_tuning(options: KernelOptions) -> Findings:
    """Tunes each kernel for each class of shapes among the cases, and writes what is faster.

    Raises:
        ConfigError: there is nothing to tune, or nowhere to write.
        BenchmarkFailed: the sizes there are now give wrong results, or do not run.
    """
    started, deadline = now(), time.monotonic() + options.budget_s
    path = _path(options)
    candidates = read_candidates(options.op.name)
    figures: list[Figure] = []
    observed: dict[str, Any] = {"file": str(path)}
    for kernel, shape_class, cases in _groups(options):
        name = f"{kernel.name} {shape_class}"
        trier = _Trier(options, kernel, cases)
        with progress_bar(f"tuning {name}", None, lambda trier=trier: trier.num_trials):
            tuned = search(
                trier.start, candidates[kernel.name], trier.try_all,
                lambda: time.monotonic() < deadline,
            )  # fmt: skip
        write_sizes(path, options.op.name, kernel.name, shape_class, tuned.best)
        _say(name, tuned)
        figures.append(
            Figure(name=f"{name} speedup", value=tuned.speedup, unit="x", is_more_better=True)
        )
        observed[name] = _words(tuned)
    return Findings(started, settings_of(options), observed, figures)


def _path(options: KernelOptions) -> Path:
    if options.file is not None:
        return options.file
    kind = device_kind()
    if kind is None:
        raise ConfigError("Without a GPU, say with --write where the block sizes are to go.")
    return sizes_path(kind)


def _groups(options: KernelOptions) -> list[tuple[TunedKernel, int, list[Any]]]:
    """(kernel, shape class, its cases)"""
    groups: dict[tuple[str, int], list[Any]] = defaultdict(list)
    kernels = {kernel.name: kernel for kernel in options.op.kernels}
    for name in options.kernels:
        for case in options.cases:
            if kernels[name].takes(case):
                groups[name, options.op.shape_class(case)].append(case)
    if not groups:
        raise ConfigError(f"None of the cases is one to tune {' or '.join(options.kernels)} on.")
    return [(kernels[name], size, cases) for (name, size), cases in groups.items()]


class _Trier:
    """Tries sizes of one kernel on all cases of one class."""

    def __init__(self, options: KernelOptions, kernel: TunedKernel, cases: Sequence[Any]):
        self.num_trials = 0
        self.start = kernel.sizes(cases[0], device_kind())
        self._options = options
        self._kernel = kernel
        self._works = [self._prepare(case) for case in cases]

    def _prepare(self, case: Any) -> tuple[Any, Arrays, np.ndarray]:
        """A case, its arrays for programs, and what is right."""
        op = self._options.op
        arrays = op.arrays(case, self._options.seed)
        expected = reference(op, case, arrays)
        return case, op.spread(case, arrays, self._options.num_calls), expected

    def try_all(self, candidates: Sequence[Any]) -> list[Trial]:
        """All of them are compiled, for all cases; then one after the other is run."""
        works = [
            (self._kernel.call(case, sizes, self._options.interpret), arrays)
            for sizes in candidates
            for case, arrays, _ in self._works
        ]
        programs = iter(compile_all(self._options.op, works, self._options.num_calls))
        return [self._try([next(programs) for _ in self._works]) for _ in candidates]

    def _try(self, programs: Sequence[Program]) -> Trial:
        """One candidate's programs. Each result is looked at before any is timed."""
        self.num_trials += 1
        for program in programs:
            if program.failure is not None:
                return Trial(failure=program.failure)
        try:
            for program, (case, _, expected) in zip(programs, self._works, strict=True):
                error = relative_error(program.result(), expected)
                if not is_right(self._options.op, error):
                    return Trial(failure=f"{case.name} is off by {error:.2g}", is_wrong=True)
            runs = self._options.runs
            return Trial(tuple(program.seconds_per_call(runs) for program in programs))
        except CANNOT_RUN as error:
            return Trial(failure=reason(error))


def _say(name: str, tuned: Tuned) -> None:
    console = output_console()
    console.print(f"{name}: {_words(tuned)}", soft_wrap=True, markup=False)
    for sizes, why in tuned.wrong.items():
        console.print(f"  WRONG: {sizes}: {why}", soft_wrap=True, markup=False)


def _words(tuned: Tuned) -> str:
    failed = sum(trial.failure is not None for trial in tuned.trials.values())
    stopped = "" if tuned.is_whole else ", stopped by --budget"
    return (
        f"{tuned.best}, {tuned.speedup:.3f}x of {tuned.start}; {len(tuned.trials)} tried, "
        f"{failed} cannot run, {len(tuned.wrong)} of them wrong{stopped}"
    )
