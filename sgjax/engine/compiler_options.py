"""How XLA is told to compile programs for a GPU.

Of a step's forward program, what matters is who multiplies. Few tokens have a kernel of our own,
and XLA has nothing to choose (`kernels_pallas/product`). Measured on one H200 (a Llama-3.1-8B
shape, JAX 0.11.2; see docs/benchmarks.md): of XLA's products, up to 8 tokens Triton's, chosen by
measuring, are the fastest (batch 1: 4.39 ms a step, 5.49 with cuBLASLt); about 128, cuBLASLt's best
by measurement (128: 9.77 ms, 10.99 with its own first choice; 64: 6.72 and 6.79). From 192 tokens
on its first choice is within 3 % of what measuring finds, and costs no time. Measuring takes 1 to 3
s a program, and means something only where nothing else runs. So other programs measure nothing,
and no program measures how XLA's own fusions are best compiled: it would compile each in several
ways, a ninth of a cold start's processor time (301 s without this, 266 with it; the same steps
within what they vary by).
"""

import dataclasses
from typing import Any

import jax

from sgjax.kernels_pallas.product import MOST_ROWS

_MOST_TOKENS_FOR_TRITON = 8
_TOKENS_TO_MEASURE = range(33, 129)
_MOST_TOKENS_FOR_OWN_ALL_REDUCE = 64
"""XLA's own all-reduce is faster than NCCL's for few tokens (two H200s, a step of 32: 4.97 and
7.01 ms; of 128: 7.75 and 7.44). But each, of each program that has run, keeps megabytes that its
allocator knows nothing of: 64 of them a program, one program after the other, filled the GPU."""


@dataclasses.dataclass(frozen=True)
class Compilation:
    """XLA's options, and what it measures on the device, if anything, to choose from."""

    options: dict[str, Any] = dataclasses.field(default_factory=dict)
    measures: str | None = None
    """Programs that say the same measure the same: the first one's choice is kept for the others
    (by XLA, which knows products by their shapes)."""
    comes_first: bool = False
    """Whether all others wait for it."""


PLAIN = Compilation()
_NO_FUSIONS_MEASURED = {"xla_gpu_experimental_enable_fusion_autotuner": False}
OF_KERNEL = Compilation(comes_first=True)
"""For one kernel that Mosaic compiles, and that is in other programs, too: XLA finds it compiled
there. Mosaic sets LLVM's options to its own, for which it would wait until nobody compiles with
XLA's: with many threads that do, for the last of them."""


def of_forward(
    num_tokens: int, platform: str, *, tp_size: int = 1, has_graphs: bool = True
) -> Compilation:
    """For a step of `num_tokens` on a `platform`, as JAX calls it ("gpu", "cpu").

    Without `has_graphs` kernels are launched one by one, not recorded as CUDA graphs. They never
    are where collectives would cut a step into a graph a layer and more.
    """
    if platform != "gpu":
        return PLAIN
    options: dict[str, Any] = dict(_NO_FUSIONS_MEASURED)
    if not has_graphs or tp_size > 1:
        options["xla_gpu_enable_command_buffer"] = ""
    if tp_size > 1 and num_tokens > _MOST_TOKENS_FOR_OWN_ALL_REDUCE:
        options |= _no_own_all_reduce()
    is_for_triton = MOST_ROWS < num_tokens <= _MOST_TOKENS_FOR_TRITON
    if not is_for_triton:
        options["xla_gpu_enable_triton_gemm"] = False
    if is_for_triton or num_tokens in _TOKENS_TO_MEASURE:
        return Compilation(options, measures=f"products of {num_tokens} tokens")
    options["xla_gpu_autotune_level"] = 0
    return Compilation(options)


def of_others(platform: str) -> Compilation:
    """For what a step computes beside the model."""
    if platform != "gpu":
        return PLAIN
    return Compilation(_NO_FUSIONS_MEASURED | {"xla_gpu_autotune_level": 0})


def _no_own_all_reduce() -> dict[str, Any]:
    if jax.__version_info__ < (0, 11):
        return {"xla_gpu_unsupported_use_all_reduce_one_shot_kernel": False}
    return {"xla_gpu_experimental_use_collective_kernels": ""}
