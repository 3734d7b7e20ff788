"""Latent attention compiles for an H200, machine code and all, on a machine without a GPU."""

import jax
import jax.numpy as jnp
import pytest
from jax.sharding import NamedSharding, PartitionSpec

from sgjax.kernels_pallas.latent_attention import triton
from sgjax.kernels_pallas.ragged_paged_attention import RaggedRows
from tests.absent_gpu import REASON, h200s, no_compilation_cache

pytest.importorskip("jax_plugins.xla_cuda13", reason=REASON)


@pytest.fixture(autouse=True)
def uncached():
    with no_compilation_cache():
        yield


def launches(tokens, num_rows, heads, sizes=(512, 64), dtype=jnp.bfloat16, *, only_decode):
    """The kernels that one call launches, by name."""

    def array(*shape, dtype=jnp.int32):
        sharding = NamedSharding(h200s(), PartitionSpec())
        return jax.ShapeDtypeStruct(shape, dtype, sharding=sharding)

    def op(q, latents, *columns):
        return triton.latent_attention(
            q,
            latents,
            RaggedRows(*columns),
            value_size=sizes[0],
            page_size=16,
            scale=0.07,
            only_decode=only_decode,
            kind="NVIDIA H200",
        )

    latents = array(65536, sum(sizes), dtype=dtype)
    columns = array(num_rows, 512), *(array(num_rows) for _ in range(3)), array()
    with jax.sharding.use_abstract_mesh(h200s().abstract_mesh):
        q = array(tokens, heads, sum(sizes), dtype=dtype)
        text = jax.jit(op).trace(q, latents, *columns).lower().compile().as_text()
    calls = [line for line in text.splitlines() if "custom-call(" in line and "triton" in line]
    names = ("latent_attention_combine", "latent_attention")
    return sorted(next(name for name in names if name in line) for line in calls)


@pytest.mark.parametrize("heads", [16, 128])
def test_many_decode_rows_are_one_launch(heads):
    assert launches(512, 512, heads, only_decode=True) == ["latent_attention"]


@pytest.mark.parametrize("heads", [16, 128])
def test_few_decode_rows_are_split_and_combined(heads):
    names = ["latent_attention", "latent_attention_combine"]
    assert launches(1, 1, heads, only_decode=True) == names


@pytest.mark.parametrize(
    ("heads", "sizes", "dtype"),
    [
        (128, (512, 64), jnp.bfloat16),
        (16, (512, 64), jnp.float16),
        (40, (256, 32), jnp.bfloat16),
        (16, (512, 64), jnp.float32),
    ],
)
def test_a_mixed_step_launches_the_kernel_twice(heads, sizes, dtype):
    found = launches(2048, 512, heads, sizes, dtype, only_decode=False)
    assert found == ["latent_attention"] * 2
