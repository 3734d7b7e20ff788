"""What a step of DeepSeek's is compiled to: latents are written in place, no weight is copied; on
the CPU, and for H200s that are not there."""

import functools
import re

import jax
import jax.numpy as jnp
import pytest
from flax import nnx
from jax.sharding import NamedSharding, PartitionSpec

from sgjax.cache.kv_cache import init_kv, kv_bytes_per_token
from sgjax.engine.compiler_options import of_forward
from sgjax.kernels_pallas.ragged_paged_attention import RaggedRows, reference
from sgjax.layers.inputs import StepInputs
from sgjax.models import find_family
from sgjax.models.decoder import build, forward
from sgjax.models.hf_config import HFConfig
from sgjax.sharding.mesh import Placement, make_mesh
from sgjax.sharding.rules import sharding
from tests.absent_gpu import REASON, h200s, no_compilation_cache
from tests.models.published_deepseek import V2_LITE, V3

NUM_SLOTS = 65536
SMALL = {"hidden_size": 512, "intermediate_size": 1536, "vocab_size": 1000}


def lowered(config, mesh, kernels, dtype, num_rows):
    """A decode step of two dense layers, and the bytes of the cache on each device."""
    config = config | {"num_hidden_layers": 2, "first_k_dense_replace": 2}
    hf = HFConfig(config)
    family = find_family(hf.architecture)
    cfg = family.config(hf).for_tp(mesh.size)

    def array(shape, dtype=jnp.int32, split=None):
        how = NamedSharding(mesh, PartitionSpec()) if split is None else sharding(mesh, split)
        return jax.ShapeDtypeStruct(shape, dtype, sharding=how)

    graphdef, state = nnx.split(build(family, cfg, Placement(mesh, kernels)))
    weights = {
        path: array(w.shape, w.own_dtype or dtype, w.axes) for path, w in nnx.to_flat_state(state)
    }
    kv = jax.eval_shape(functools.partial(init_kv, cfg, NUM_SLOTS, dtype, make_mesh(1)))
    kv = jax.tree.map(lambda x: array(x.shape, dtype), kv)
    token = array((num_rows,))
    rows = RaggedRows(array((num_rows, 128)), token, token, token, array(()))
    step = StepInputs(token, token, token, rows, token, page_size=16, only_decode=True)
    arrays, tree = jax.tree.flatten((kv, step))

    def program(params, kv, inputs):
        """Of plain lists: checks refuse descriptions of arrays in the place of arrays."""
        return forward(graphdef, params, *jax.tree.unflatten(tree, kv + inputs))

    params = nnx.to_pure_dict(nnx.from_flat_state(weights))
    with jax.sharding.use_abstract_mesh(mesh.abstract_mesh):
        traced = jax.jit(program, donate_argnums=1).trace(params, arrays[:2], arrays[2:])
        cache_bytes = NUM_SLOTS * kv_bytes_per_token(cfg, dtype, tp=mesh.size)
        return traced.lower(), cache_bytes


@pytest.mark.parametrize("tp", [1, 2])
@pytest.mark.parametrize("config", [V2_LITE, V3], ids=["V2-Lite", "V3"])
def test_no_weight_is_copied_and_latents_are_written_in_place(config, tp):
    small = config | SMALL | {"num_attention_heads": 8, "num_key_value_heads": 8}
    step, cache_bytes = lowered(small, make_mesh(tp), "reference", jnp.float32, 4)
    memory = step.compile().memory_analysis()
    assert memory.alias_size_in_bytes == cache_bytes
    blocks = 4 * reference.BLOCK * 576 * 4  # of latents, that each row reads at a time
    assert memory.temp_size_in_bytes < 3 * blocks < cache_bytes / 50


KERNELS = r"product_\w+|add_rms_norm|latent_attention"
# Of V3: the products with what makes keys and values of latents are one a layer, too, and for a
# single row XLA does them in passing.
FEW = [
    *("product_plain", "product_plain", "latent_attention"),
    *("product_plain", "product_gated", "product_plain"),
]
MANY = [
    *("add_rms_norm", "gemm", "gemm", "gemm", "latent_attention"),
    *("gemm", "gemm", "add_rms_norm", "gemm", "gemm"),
]
FEW_END, MANY_END = ["product_logits"], ["add_rms_norm", "gemm"]


def launches(text):
    """Our kernels by name, and what XLA multiplies as "gemm", in order. Left out is what combines
    the splits of a cache, if there are any."""
    found = []
    for line in text[text.index("ENTRY") :].splitlines():
        if name := re.search(rf'custom-call\(.*op_name="[^"]*?({KERNELS})[^a-z_]', line):
            found.append(name[1])
        elif "custom-call(" in line and re.search("cublas|gemm", line):
            found.append("gemm")
    return found


@pytest.mark.parametrize("tp", [1, 2])
@pytest.mark.parametrize(("num_rows", "max_temp"), [(1, 10e6), (64, 100e6)])
@pytest.mark.parametrize("config", [V2_LITE, V3], ids=["V2-Lite", "V3"])
def test_on_a_gpu_nor_is_it(config, num_rows, max_temp, tp):
    pytest.importorskip("jax_plugins.xla_cuda13", reason=REASON)
    with no_compilation_cache():
        step, cache_bytes = lowered(config, h200s(tp), "triton", jnp.bfloat16, num_rows)
        program = step.compile(of_forward(num_rows, "gpu", tp_size=tp).options)
    memory, text = program.memory_analysis(), program.as_text()
    assert memory.alias_size_in_bytes == cache_bytes
    assert memory.temp_size_in_bytes < max_temp
    assert not re.search(r"(copy|transpose)\(%params", text)
    assert " sort(" not in text, "each layer's is compiled anew"
    if config is V3:
        layer, end = (FEW, FEW_END) if num_rows == 1 else (MANY, MANY_END)
        assert launches(text) == layer * 2 + end
