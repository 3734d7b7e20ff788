"""The Triton kernels compile for an H200, machine code and all, on a machine without a GPU."""

import jax
import jax.numpy as jnp
import pytest
from jax.sharding import NamedSharding, PartitionSpec

from sgjax.kernels_pallas.ragged_paged_attention import RaggedRows, SharedPrefixes, triton
from tests.absent_gpu import REASON, h200s, no_compilation_cache

pytest.importorskip("jax_plugins.xla_cuda13", reason=REASON)


@pytest.fixture(autouse=True)
def uncached():
    with no_compilation_cache():
        yield


def compiled_text(
    tokens: int,
    num_rows: int,
    heads: tuple[int, int, int],
    dtype,
    *,
    only_decode: bool,
    shared: bool = False,
    sinks: bool = False,
    **options,
) -> str:
    """The optimised program of one call, compiled for an H200."""
    K, G, H = heads

    def array(*shape, dtype=jnp.int32):
        sharding = NamedSharding(h200s(), PartitionSpec())
        return jax.ShapeDtypeStruct(shape, dtype, sharding=sharding)

    def op(q, k, v, prefixes, sinks, *columns):
        return triton.ragged_paged_attention(
            q,
            k,
            v,
            RaggedRows(*columns, shared=prefixes),
            page_size=16,
            scale=H**-0.5,
            window=options.get("window"),
            chunk=options.get("chunk"),
            soft_cap=options.get("soft_cap"),
            sinks=sinks,
            only_decode=only_decode,
            kind="NVIDIA H200",
        )

    cache = array(65536, K, H, dtype=dtype)
    columns = array(num_rows, 512), *(array(num_rows) for _ in range(3)), array()
    prefixes = SharedPrefixes(array(num_rows), array(num_rows)) if shared else None
    with jax.sharding.use_abstract_mesh(h200s().abstract_mesh):
        q = array(tokens, K, G, H, dtype=dtype)
        scores = array(K, G, dtype=dtype) if sinks else None
        traced = jax.jit(op).trace(q, cache, cache, prefixes, scores, *columns)
        return traced.lower().compile().as_text()


def launches(text: str) -> list[str]:
    """The kernels that the program calls, by name."""
    names = ("extend", "decode", "combine", "shared")
    calls = [line for line in text.splitlines() if "custom-call(" in line and "triton" in line]
    return sorted(name for line in calls for name in names if f"attention_{name}" in line)


def test_decode_rows_alone_are_one_launch():
    text = compiled_text(64, 64, (8, 4, 128), jnp.bfloat16, only_decode=True)
    assert launches(text) == ["decode"]


@pytest.mark.parametrize("window", [None, 128])
def test_sinks_need_no_launch_of_their_own(window):
    options = {"sinks": True, "window": window}
    text = compiled_text(64, 64, (8, 8, 64), jnp.bfloat16, only_decode=True, **options)
    assert launches(text) == ["decode"]
    text = compiled_text(512, 64, (8, 8, 64), jnp.bfloat16, only_decode=False, **options)
    assert launches(text) == ["decode", "extend"]


def test_few_decode_rows_are_split_and_combined():
    text = compiled_text(1, 1, (8, 4, 128), jnp.bfloat16, only_decode=True)
    assert launches(text) == ["combine", "decode"]


@pytest.mark.parametrize(
    "heads, dtype, options",
    [
        ((8, 4, 128), jnp.bfloat16, {}),
        ((8, 1, 64), jnp.float16, {}),
        ((2, 3, 80), jnp.bfloat16, {"soft_cap": 50.0}),
        ((4, 2, 256), jnp.bfloat16, {}),
        ((2, 8, 64), jnp.float32, {}),
    ],
)
def test_shared_prefixes_are_one_launch_more(heads, dtype, options):
    text = compiled_text(256, 256, heads, dtype, only_decode=True, shared=True, **options)
    assert launches(text) == ["decode", "shared"]


@pytest.mark.parametrize("options", [{"window": 512}, {"chunk": 512}])
def test_in_windows_and_chunks_nothing_is_shared(options):
    text = compiled_text(
        256, 256, (8, 4, 128), jnp.bfloat16, only_decode=True, shared=True, **options
    )
    assert launches(text) == ["decode"]


@pytest.mark.parametrize(
    "heads, dtype, options",
    [
        ((8, 4, 128), jnp.bfloat16, {}),
        ((8, 1, 64), jnp.float16, {"window": 512}),
        ((8, 5, 128), jnp.bfloat16, {"chunk": 8192}),
        ((2, 3, 80), jnp.float16, {"chunk": 1000}),
        ((2, 3, 80), jnp.bfloat16, {"soft_cap": 50.0}),
        ((2, 7, 192), jnp.bfloat16, {}),
        ((4, 2, 256), jnp.bfloat16, {"window": 512, "soft_cap": 50.0}),
        ((2, 8, 64), jnp.float32, {}),
    ],
)
def test_a_mixed_step_launches_both_kernels(heads, dtype, options):
    text = compiled_text(512, 64, heads, dtype, only_decode=False, **options)
    assert [name for name in launches(text) if name != "combine"] == ["decode", "extend"]
