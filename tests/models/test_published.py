"""config.json of published models is read in full, and gives models of the published size."""

import dataclasses
import functools
import json
import math
from typing import Any

import jax
import jax.numpy as jnp
import pytest
from flax import nnx

from sgjax.cache.kv_cache import init_kv, kv_bytes_per_token
from sgjax.errors import ConfigError
from sgjax.kernels_pallas.ragged_paged_attention import RaggedRows
from sgjax.layers.inputs import StepInputs
from sgjax.models import find_family, read_model_config
from sgjax.models.decoder import build, forward
from sgjax.models.family import ModelConfig
from sgjax.models.hf_config import HFConfig
from sgjax.models.text_part import text_part
from sgjax.sharding.mesh import Placement, make_mesh
from sgjax.weights.rules import num_experts, sources
from tests.models import (
    published,
    published_deepseek,
    published_dense,
    published_encoders,
    published_moe,
    published_variants,
)
from tests.models.published import NEMO, QWEN2, QWEN3
from tests.models.published_embedders import EMBEDDERS, LAST, say_modules

MODELS = (
    published.MODELS
    | published_variants.MODELS
    | published_dense.MODELS
    | published_moe.MODELS
    | published_deepseek.MODELS
    | published_encoders.MODELS
)

NEVER_BIASED = {"Phi3ForCausalLM"}
"""Those that say that they have no biases, and could not have any."""


WITH_BIASES = [
    name
    for name, model in MODELS.items()
    if "attention_bias" in model.config
    and not NEVER_BIASED & {*model.config["architectures"]}
    and not model.config["attention_bias"]
]


def read(name: str) -> ModelConfig:
    return configured(MODELS[name].config)


def configured(values: dict[str, Any]) -> ModelConfig:
    hf = text_part(HFConfig(values))
    return find_family(hf.architecture).config(hf)


def parameters(cfg: ModelConfig) -> nnx.State:
    """Of a whole model, without their values."""
    return nnx.split(build(find_family(cfg.architecture), cfg, Placement(make_mesh(1))))[1]


published_parameters = functools.cache(lambda name: parameters(read(name)))


@pytest.mark.parametrize("name", MODELS)
def test_every_key_is_understood_and_the_model_has_the_published_size(name):
    cfg, state = read(name), published_parameters(name)
    sizes = [math.prod(leaf.shape) for leaf in jax.tree.leaves(nnx.to_pure_dict(state))]
    assert sum(sizes) == MODELS[name].num_params
    assert cfg.context_length == MODELS[name].context_length


@pytest.mark.parametrize("name", EMBEDDERS)
def test_a_published_embedder_has_no_head_but_its_scores(name, tmp_path):
    published = EMBEDDERS[name]
    (tmp_path / "config.json").write_text(json.dumps(published.config))
    if published.has_modules:
        say_modules(tmp_path, LAST, "Normalize")
    _, cfg = read_model_config(tmp_path)
    sizes = [math.prod(leaf.shape) for leaf in jax.tree.leaves(nnx.to_pure_dict(parameters(cfg)))]
    assert sum(sizes) == published.num_params
    assert cfg.pooling == published.pooling


def test_llama_3_1_scales_its_rope():
    rope = read("Llama-3.1-8B").rope
    assert (rope.kind, rope.theta, rope.param("factor")) == ("llama3", 500000.0, 8.0)


def test_yarn_allows_a_longer_context_when_asked():
    cfg = read("Qwen2.5-7B with YaRN")
    assert cfg.with_context_length(131072).context_length == 131072


def test_mistral_v0_1_has_a_window_in_every_layer_and_v0_3_in_none():
    assert {read("Mistral-7B-v0.1").window(layer) for layer in range(32)} == {4096}
    assert {read("Mistral-7B-v0.3").window(layer) for layer in range(32)} == {None}


def test_qwen_has_windows_only_where_they_are_switched_on():
    assert read("Qwen2-7B").windows == ()
    hf = HFConfig(QWEN2 | {"use_sliding_window": True, "max_window_layers": 26})
    assert find_family(hf.architecture).config(hf).windows == (None,) * 26 + (131072,) * 2


def test_nemos_heads_are_not_its_width_divided():
    assert NEMO["hidden_size"] // NEMO["num_attention_heads"] == 160
    assert read("Mistral-Nemo").head_size == 128


def test_qwen3_needs_its_head_size_said():
    with pytest.raises(Exception, match="lacks 'head_dim'"):
        hf = HFConfig({key: value for key, value in QWEN3.items() if key != "head_dim"})
        find_family(hf.architecture).config(hf)


@pytest.mark.parametrize(("name", "tp"), [("Llama-3.1-8B", 1), ("Llama-3.1-70B", 2)])
def test_a_step_of_a_large_model_has_the_right_shapes(name, tp):
    cfg = dataclasses.replace(read(name), num_layers=2).for_tp(tp)
    family = find_family(cfg.architecture)
    graphdef, state = nnx.split(build(family, cfg, Placement(make_mesh(tp), "reference")))
    ints = functools.partial(jnp.zeros, dtype=jnp.int32)
    rows = RaggedRows(ints((8, 64)), ints((8,)), ints((8,)), ints((8,)), ints(()))
    step = StepInputs(
        ints((8,)), ints((8,)), ints((8,)), rows, ints((8,)), page_size=16, only_decode=True
    )
    params = jax.tree.map(
        lambda x: jax.ShapeDtypeStruct(x.shape, jnp.bfloat16), nnx.to_pure_dict(state)
    )
    step_program = functools.partial(forward, graphdef)
    kv = jax.eval_shape(lambda: init_kv(cfg, 4096, jnp.bfloat16, make_mesh(tp)))
    logits, kv = jax.eval_shape(step_program, params, kv, step)
    assert (logits.shape, logits.dtype) == ((8, 128256), jnp.float32)
    assert [layer.k.shape for layer in kv] == [(4096, 8, 128)] * 2


def test_a_token_of_llama_3_1_8b_takes_128_kib():
    assert kv_bytes_per_token(read("Llama-3.1-8B"), jnp.bfloat16) == 128 * 1024


@pytest.mark.parametrize("name", MODELS)
def test_tables_fill_every_parameter_and_every_part_of_it_once(name):
    check_tables(read(name), published_parameters(name))


@pytest.mark.parametrize("name", WITH_BIASES)
def test_tables_fill_every_bias_of_attention_too(name):
    cfg = configured(MODELS[name].config | {"attention_bias": True})
    check_tables(cfg, parameters(cfg))


def check_tables(cfg: ModelConfig, state: nnx.State) -> None:
    family = find_family(cfg.architecture)
    wanted = [
        (".".join(map(str, path)), part)
        for path, weight in nnx.to_flat_state(state)
        for part in [name for name, _ in weight.parts] or [None]
    ]
    paths = {path for path, _ in wanted}
    found = [
        source
        for source in sources(family.weights, cfg.num_layers, num_experts(cfg))
        if source.path in paths
    ]
    filled = [(source.path, source.part) for source in found if not source.expert]
    assert sorted(filled, key=str) == sorted(wanted, key=str)
    of_experts = [source for source in found if source.expert is not None]
    assert len({source.tensor for source in of_experts}) == len(of_experts)
    assert len(of_experts) % max(num_experts(cfg), 1) == 0


@pytest.mark.parametrize(
    ("tp", "ep", "message"),
    [
        (2, 3, "--ep-size 3 does not divide 8 experts"),
        (8, 1, None),
        (8, 8, None),
    ],
)
def test_devices_share_experts_where_both_numbers_fit(tp, ep, message):
    cfg = read("Mixtral-8x7B-v0.1")
    if message is None:
        cfg.for_tp(tp, ep=ep)
        return
    with pytest.raises(ConfigError, match=message):
        cfg.for_tp(tp, ep=ep)


def test_experts_too_narrow_for_all_devices_are_an_error_that_says_so():
    with pytest.raises(ConfigError, match=r"2 devices share each expert, .* width = 7\."):
        cfg = read("Mixtral-8x7B-v0.1")
        dataclasses.replace(cfg, moe=dataclasses.replace(cfg.moe, d_expert=7)).for_tp(2)
    with pytest.raises(ConfigError, match="--ep-size 2 is for models with experts"):
        read("Qwen2-7B").for_tp(2, ep=2)
