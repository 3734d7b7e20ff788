"""What reading shared prefixes once is worth here: `python tests/device/shared_prefix_speed.py`.

For each shape: every row by itself, the rows' own tokens alone (what no sharing can spare), and the
shared prefixes with some block sizes, the best first. `sgjax bench kernels --tune --kernel shared`
searches further. PYTHONPATH is the repository's root.
"""

import dataclasses
import itertools
from collections.abc import Iterator

import jax

from sgjax.bench.kernels.attention import OP
from sgjax.bench.kernels.op import Arrays
from sgjax.bench.kernels.programs import CALLS, compile_all
from sgjax.bench.kernels.timing import RUNS
from sgjax.kernels_pallas.ragged_paged_attention import triton_shared
from sgjax.kernels_pallas.ragged_paged_attention.cases import Case

(SHARED,) = (kernel for kernel in OP.kernels if kernel.name == "shared")
CANDIDATES = tuple(
    triton_shared.Sizes(rows, block, warps, stages, programs)
    for (rows, warps), (block, stages), programs in itertools.product(
        ((64, 4), (128, 8)), ((64, 3), (128, 2)), (132, 264)
    )
)


def unshared(arrays: Arrays) -> Arrays:
    """The same rows and pages, but nothing is said of sharing."""
    *others, rows = arrays
    return *others, dataclasses.replace(rows, shared=None)


def own_alone(case: Case) -> Case:
    """The case without the tokens that its rows share."""
    lengths = tuple(
        length - shared for length, (_, shared) in zip(case.decode, case.shared, strict=True)
    )
    return dataclasses.replace(case, decode=lengths, groups=())


def spread(case: Case) -> Arrays:
    return OP.spread(case, OP.arrays(case, 0), CALLS)


def measure(case: Case) -> Iterator[tuple[str, float]]:
    """(what, seconds); those of the candidates come sorted."""
    own = own_alone(case)
    arrays = spread(case)
    plain = OP.call(case, None, False), unshared(arrays)
    alone = OP.call(own, None, False), spread(own)
    candidates = [(SHARED.call(case, sizes, False), arrays) for sizes in CANDIDATES]
    programs = compile_all(OP, [plain, alone, *candidates], CALLS)
    names = ["every row by itself", "own tokens alone", *map(str, CANDIDATES)]
    found = []
    for name, program in zip(names, programs, strict=True):
        if program.failure is None:
            found.append((program.seconds_per_call(RUNS), name))
        else:
            print(f"  {name}: {program.failure}")
    yield from ((name, seconds) for seconds, name in found[:2])
    yield from ((name, seconds) for seconds, name in sorted(found[2:]))


def main() -> None:
    """Measures the real cases that share something."""
    print(jax.devices()[0].device_kind, "JAX", jax.__version__)
    for case in OP.real:
        if case.groups:
            print(case.name, flush=True)
            lines = list(measure(case))
            for name, seconds in lines:
                times = lines[0][1] / seconds
                print(f"  {name:72} {seconds * 1e6:8.1f} us {times:6.2f} x", flush=True)


if __name__ == "__main__":
    main()
