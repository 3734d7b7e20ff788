"""What a decode step launches on an H200, compiled for one that is not there."""

import re

import jax
import jax.numpy as jnp
import pytest
from flax import nnx
from jax.sharding import NamedSharding, PartitionSpec

from sgjax.cache.kv_cache import LayerKV
from sgjax.engine.compiler_options import of_forward
from sgjax.kernels_pallas.ragged_paged_attention import RaggedRows
from sgjax.layers.inputs import StepInputs
from sgjax.models import find_family
from sgjax.models.decoder import build, forward
from sgjax.models.hf_config import HFConfig
from sgjax.sharding.mesh import Placement
from sgjax.sharding.rules import sharding
from tests.absent_gpu import REASON, h200s, no_compilation_cache
from tests.models import published, published_moe

pytest.importorskip("jax_plugins.xla_cuda13", reason=REASON)

MODELS = published.MODELS | published_moe.MODELS
LAYERS = 3
KERNELS = (
    r"product_\w+|add_rms_norm|rotate_and_write|ragged_paged_attention_\w+|mixture_of_experts_\w+"
)


@pytest.fixture(autouse=True)
def uncached():
    with no_compilation_cache():
        yield


def decode_step(num_rows: int, array) -> StepInputs:
    def ints(*shape):
        return array(shape, jnp.int32)

    token = ints(num_rows)
    rows = RaggedRows(ints(num_rows, 128), token, token, token, ints())
    return StepInputs(token, token, token, rows, token, page_size=16, only_decode=True)


def compiled(name: str, num_rows: int, tp: int = 1):
    """A decode step of the first layers of a published model, in bfloat16."""
    hf = HFConfig({**MODELS[name].config, "num_hidden_layers": LAYERS})
    family, mesh = find_family(hf.architecture), h200s(tp)
    cfg = family.config(hf).for_tp(tp)

    def array(shape, dtype, split=None):
        how = NamedSharding(mesh, PartitionSpec()) if split is None else sharding(mesh, split)
        return jax.ShapeDtypeStruct(shape, dtype, sharding=how)

    graphdef, state = nnx.split(build(family, cfg, Placement(mesh, "triton")))
    weights = nnx.to_flat_state(state)
    params = {path: array(w.shape, jnp.bfloat16, w.axes) for path, w in weights}
    heads = array((65536, cfg.num_kv_heads, cfg.head_size), jnp.bfloat16, "PB K H")
    kv = [LayerKV(heads, heads) for _ in range(LAYERS)]
    arrays, tree = jax.tree.flatten((kv, decode_step(num_rows, array)))

    def step(params, kv, inputs):
        """Of plain lists: checks refuse descriptions of arrays in the place of arrays."""
        return forward(graphdef, params, *jax.tree.unflatten(tree, kv + inputs))

    count = 2 * LAYERS
    options = of_forward(num_rows, "gpu", tp_size=tp).options
    with jax.sharding.use_abstract_mesh(mesh.abstract_mesh):
        program = jax.jit(step, donate_argnums=1)
        params = nnx.to_pure_dict(nnx.from_flat_state(params))
        return program.trace(params, arrays[:count], arrays[count:]).lower().compile(options)


def launches(program) -> list[str]:
    """Our kernels by name, what XLA multiplies as "gemm", and what devices say, in order."""
    text = program.as_text()
    found = []
    for line in text[text.index("ENTRY") :].splitlines():
        if name := re.search(rf'custom-call\(.*op_name="[^"]*?({KERNELS})', line):
            found.append(name[1])
        elif "custom-call(" in line and "gemm" in line.lower():
            found.append("gemm")
        elif said := re.search(r" (all-[a-z]+)(-start)?\(", line):
            found.append(said[1])
    return found


ATTENTION = [
    "rotate_and_write",
    "ragged_paged_attention_decode",
    "ragged_paged_attention_combine",
]


@pytest.mark.parametrize("name", ["Llama-3.1-8B", "Qwen2.5-0.5B", "Qwen3-0.6B"])
def test_a_layer_of_one_token_is_seven_launches(name):
    program = compiled(name, 1)
    layer = ["product_plain", *ATTENTION, "product_plain", "product_gated", "product_plain"]
    assert launches(program) == layer * LAYERS + ["product_logits"]
    assert program.memory_analysis().temp_size_in_bytes < 2**20


def test_xla_multiplies_for_more_tokens():
    found = launches(compiled("Llama-3.1-8B", 64))
    assert not [name for name in found if name.startswith("product")]
    assert found.count("gemm") == 4 * LAYERS + 1
    assert found.count("add_rms_norm") == 2 * LAYERS + 1


def test_two_gpus_add_up_after_the_products_that_are_shared():
    layer = ["product_plain", *ATTENTION, "product_plain", "all-reduce"]
    layer += ["product_gated", "product_plain", "all-reduce"]
    found = launches(compiled("Llama-3.1-8B", 1, tp=2))
    assert found == ["all-reduce", *layer * LAYERS, "product_logits"]


MIXTURE = ["add_rms_norm", "mixture_of_experts_gate_up", "mixture_of_experts_down"]


@pytest.mark.parametrize("name", ["Mixtral-8x7B-v0.1", "Qwen3-30B-A3B"])
def test_experts_are_two_launches_that_copy_no_weights(name):
    program = compiled(name, 1)
    layer = ["product_plain", *ATTENTION, "product_plain", *MIXTURE]
    assert launches(program) == layer * LAYERS + ["product_logits"]
    assert program.memory_analysis().temp_size_in_bytes < 2**21


def test_two_gpus_add_up_once_what_experts_make():
    layer = ["product_plain", *ATTENTION, "product_plain", "all-reduce", *MIXTURE, "all-reduce"]
    found = launches(compiled("Qwen3-30B-A3B", 1, tp=2))
    assert found == ["all-reduce", *layer * LAYERS, "product_logits"]
