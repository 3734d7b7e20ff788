"""What the Mosaic GPU kernel for long rows is worth: `python tests/device/extend_speed.py`.

First results are compared with the reference, then calls are timed, each in a process of its own
which ends where a case takes longer than it may: a kernel that waits for ever holds nothing else
up. PYTHONPATH is the repository's root.
"""

import faulthandler
import os
import subprocess
import sys
from collections.abc import Iterator
from typing import Any

LIMIT_S = 20
"""Of one case."""
CHECKS_S, TIMES_S = 60, 90
"""Of all."""


def check() -> bool:
    """Whether all results are right; says how far off they are."""
    import jax.numpy as jnp

    from tests.device.test_mosaic_extend import CASES, relative_error

    good = True
    for seed, case in enumerate(CASES):
        faulthandler.dump_traceback_later(LIMIT_S, exit=True)
        error = relative_error(case, jnp.bfloat16, seed)
        good &= error < 5e-3
        print(f"{case.name:40} error {error:.2e} {'' if error < 5e-3 else 'WRONG'}", flush=True)
    faulthandler.cancel_dump_traceback_later()
    return good


def candidates(case) -> Iterator[tuple[str, Any]]:
    """(name, call): kernels, and cuDNN on arrays without pages, which are as much work."""
    import jax

    from sgjax.bench.kernels.attention import DTYPE, row_bytes
    from sgjax.kernels_pallas.block_sizes import device_kind
    from sgjax.kernels_pallas.ragged_paged_attention import (
        mosaic_extend,
        triton_block,
        triton_extend,
    )

    options = triton_block.Options(case.page_size, case.head**-0.5, case.window, case.soft_cap)

    def kernel(module, sizes):
        return jax.jit(lambda *arrays: module.extend(*arrays, options=options, sizes=sizes))

    tuned = triton_extend.sizes(row_bytes(case), DTYPE, device_kind())
    yield "Triton", kernel(triton_extend, tuned)
    for block, stages in ((128, 2), (64, 4), (64, 3)):
        sizes = mosaic_extend.Sizes(block, stages)
        yield f"Mosaic {block} x {stages}", kernel(mosaic_extend, sizes)
    yield (
        "Mosaic 128 x 2, a program a unit",
        kernel(mosaic_extend, mosaic_extend.Sizes(programs=10**6)),
    )
    num_rows = len(case.extend)

    def cudnn(q, k, v, rows):
        T, K, G, H = q.shape
        keys, values = (
            x[case.page_size :][:T].reshape(num_rows, T // num_rows, K, H) for x in (k, v)
        )
        queries = q.reshape(num_rows, T // num_rows, K * G, H)
        return jax.nn.dot_product_attention(
            queries, keys, values, is_causal=True, implementation="cudnn"
        ).reshape(q.shape)

    if all(before == 0 for before, _ in case.extend):
        yield "cuDNN, no pages", jax.jit(cudnn)


def measure() -> bool:
    """Times the real cases of long rows."""
    import jax

    from sgjax.bench.kernels.attention import OP, num_operations
    from sgjax.bench.kernels.programs import CALLS, compile_all

    print(jax.devices()[0].device_kind, "JAX", jax.__version__, flush=True)
    for case in OP.real:
        if case.decode or not case.extend:
            continue
        arrays = OP.spread(case, OP.arrays(case, 0), CALLS)
        print(case.name, flush=True)
        for name, call in candidates(case):
            faulthandler.dump_traceback_later(LIMIT_S, exit=True)
            (program,) = compile_all(OP, [(call, arrays)], CALLS)
            if program.failure is not None:
                print(f"  {name:40} {program.failure}", flush=True)
                continue
            seconds = program.seconds_per_call(5)
            rate = num_operations(case) / seconds / 1e12
            print(f"  {name:40} {seconds * 1e6:9.1f} us {rate:6.1f} TFLOP/s", flush=True)
    faulthandler.cancel_dump_traceback_later()
    return True


def main() -> int:
    """Both, each for itself; without autotuning for the reference's products."""
    if sys.argv[1:]:
        return not {"check": check, "time": measure}[sys.argv[1]]()
    for name, limit_s, flags in (
        ("check", CHECKS_S, " --xla_gpu_autotune_level=0"),
        ("time", TIMES_S, ""),
    ):
        environment = os.environ | {"XLA_FLAGS": os.environ.get("XLA_FLAGS", "") + flags}
        try:
            code = subprocess.run(
                [sys.executable, __file__, name], env=environment, timeout=limit_s, check=False
            ).returncode
        except subprocess.TimeoutExpired:
            code = f"no end within {limit_s} s"
        print(f"{name}: {code}", flush=True)
    return 0


if __name__ == "__main__":
    sys.exit(main())
