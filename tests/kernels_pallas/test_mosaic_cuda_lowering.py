"""The Mosaic GPU kernel compiles for an H200, machine code and all, on a machine without a GPU."""

import jax
import jax.numpy as jnp
import pytest
from jax.sharding import NamedSharding, PartitionSpec

from sgjax.kernels_pallas.ragged_paged_attention import RaggedRows, mosaic
from tests.absent_gpu import REASON, h200s, no_compilation_cache

pytest.importorskip("jax_plugins.xla_cuda13", reason=REASON)
pytestmark = pytest.mark.skipif(
    jax.__version_info__ < (0, 11), reason="with JAX 0.10 the Triton kernel is taken"
)

WHOLE = PartitionSpec()


def compiled_text(tokens: int, heads: tuple[int, int, int], dtype, page_size: int, window) -> str:
    """The optimised program of one call over two H200s, which have half of the kv heads each."""
    K, G, H = heads
    over = PartitionSpec(None, "tensor")

    def array(*shape, dtype=jnp.int32, spec=WHOLE):
        return jax.ShapeDtypeStruct(shape, dtype, sharding=NamedSharding(h200s(2), spec))

    def op(*arrays):
        return mosaic.ragged_paged_attention(
            *arrays,
            page_size=page_size,
            scale=H**-0.5,
            window=window,
            soft_cap=None,
            only_decode=False,
            kind="NVIDIA H200",
        )

    cache = array(65536, K, H, dtype=dtype, spec=over)
    rows = RaggedRows(array(64, 512), *(array(64) for _ in range(3)), array())
    q = array(tokens, K, G, H, dtype=dtype, spec=over)
    with no_compilation_cache(), jax.sharding.use_abstract_mesh(h200s(2).abstract_mesh):
        sharded = jax.shard_map(
            op,
            mesh=h200s(2).abstract_mesh,
            in_specs=(over, over, over, WHOLE),
            out_specs=over,
            check_vma=False,
        )
        return jax.jit(sharded).trace(q, cache, cache, rows).lower().compile().as_text()


@pytest.mark.parametrize(
    "tokens, heads, dtype, page_size, window",
    [
        (2048, (8, 4, 128), jnp.bfloat16, 16, None),
        (512, (2, 7, 128), jnp.float16, 64, None),
        (200, (4, 2, 128), jnp.bfloat16, 8, 512),
    ],
)
def test_long_rows_are_one_launch_of_it(tokens, heads, dtype, page_size, window):
    text = compiled_text(tokens, heads, dtype, page_size, window)
    assert text.count('custom_call_target="mosaic_gpu_v2"') == 1
    assert "ragged_paged_attention_decode" in text
