"""A layer of experts gives what its experts give one by one, on any number of devices."""

import dataclasses

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from sgjax.layers.moe import MoE
from sgjax.layers.norm import RMSNorm
from sgjax.models.family import MoEConfig
from sgjax.sharding.mesh import Placement, make_mesh
from tests.layers.values import filled, step_of

D = 12
PLAIN = MoEConfig(num_experts=4, top_k=2, d_expert=8, renormalise=True)
KINDS = {
    "plain": {},
    "biases": {"router_bias": True, "expert_bias": True},
    "a shared expert": {"d_shared": 6},
    "a gated shared expert": {"d_shared": 6, "shared_gate": True},
    "a selection bias": {"selection_bias": True, "scoring": "sigmoid"},
    "weighed inputs": {"top_k": 1, "weighs_inputs": True, "renormalise": False},
}
PLACEMENTS = {
    "one device": Placement(make_mesh(1)),
    "tp 2": Placement(make_mesh(2)),
    "ep 2": Placement(make_mesh(2, ep_size=2)),
}


def normal(*shape: int) -> np.ndarray:
    return np.random.default_rng(1).normal(size=shape).astype(np.float32)


def gated(x: np.ndarray, gate_up: np.ndarray, down: np.ndarray, bias=0, down_bias=0) -> np.ndarray:
    gate, up = np.moveaxis(np.tensordot(x, gate_up, 1) + bias, -2, 0)
    return gate / (1 + np.exp(-gate)) * up @ down + down_bias


def expected(layer: MoE, x: np.ndarray) -> np.ndarray:
    """Every token by itself, with the experts that the layer's router gives it."""
    moe, values = layer.moe, np.asarray
    ids, weights = (values(a) for a in layer.routes(jnp.asarray(x)))
    out = np.zeros_like(x)
    for t, c in np.ndindex(ids.shape):
        e, weight = ids[t, c], weights[t, c]
        biases = ()
        if moe.expert_bias:
            biases = values(layer.gate_up_bias[...])[e], values(layer.down_bias[...])[e]
        of_expert = values(layer.gate_up[...])[e], values(layer.down[...])[e], *biases
        if moe.weighs_inputs:
            out[t] += gated(x[t] * weight, *of_expert)
        else:
            out[t] += weight * gated(x[t], *of_expert)
    if layer.shared is not None:
        common = gated(
            x, values(layer.shared.gate_up.weight[...]), values(layer.shared.down.weight[...])
        )
        if layer.shared_gate is not None:
            common /= 1 + np.exp(-x @ values(layer.shared_gate[...]))[:, None]
        out += common
    return out


@pytest.mark.parametrize("placement", PLACEMENTS)
@pytest.mark.parametrize("kind", KINDS)
def test_a_layer_adds_up_what_a_token_s_experts_make_of_it(kind, placement):
    layer = filled(MoE(D, dataclasses.replace(PLAIN, **KINDS[kind])))
    x = normal(7, D)
    step = step_of(7, PLACEMENTS[placement])
    found = jax.jit(layer.of)(jnp.asarray(x), step)
    np.testing.assert_allclose(found, expected(layer, x), rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize("placement", PLACEMENTS)
def test_tokens_that_pad_a_step_have_no_expert(placement):
    layer = filled(MoE(D, PLAIN))
    x = normal(5, D)
    found = jax.jit(layer.of)(jnp.asarray(x), step_of(3, PLACEMENTS[placement], num_padding=2))
    np.testing.assert_allclose(found[:3], expected(layer, x[:3]), rtol=1e-4, atol=1e-4)
    np.testing.assert_array_equal(found[3:], 0)


def test_it_is_called_as_a_gated_layer_is():
    layer, norm = filled(MoE(D, PLAIN)), filled(RMSNorm(D, 1e-5))
    x, delta = normal(2, 5, D)
    call = jax.jit(lambda *arrays: layer(norm, *arrays, step_of(5, PLACEMENTS["one device"])))
    total, found = call(jnp.asarray(x), jnp.asarray(delta))
    np.testing.assert_allclose(total, x + delta, rtol=1e-6)
    normed = np.asarray(norm(jnp.asarray(x + delta)))
    np.testing.assert_allclose(found, expected(layer, normed), rtol=1e-4, atol=1e-4)


def test_a_device_holds_its_own_experts_or_its_share_of_all():
    from sgjax.sharding.rules import sharding

    for ep, share in ((1, (4, D, 2, 4)), (2, (2, D, 2, 8))):
        place = sharding(make_mesh(2, ep_size=ep), "E D 2 X")
        assert place.shard_shape((4, D, 2, 8)) == share


@pytest.mark.parametrize("kind", KINDS)
def test_what_experts_make_is_exchanged_once(kind):
    layer = filled(MoE(D, dataclasses.replace(PLAIN, **KINDS[kind])))
    x, step = jnp.asarray(normal(4, D)), step_of(4, PLACEMENTS["ep 2"])
    program = jax.jit(layer.of).lower(x, step)
    assert program.compile().as_text().count(" all-reduce(") == 1
