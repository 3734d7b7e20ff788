import jax.numpy as jnp
import numpy as np
import pytest

from sgjax.layers.einsum import Einsum
from sgjax.layers.embed import Embed
from sgjax.layers.mlp import GatedMLP
from sgjax.layers.norm import RMSNorm
from sgjax.layers.weight import Part
from sgjax.sharding.mesh import Placement, make_mesh
from tests.layers.values import filled, step_of

SIZES = {"D": 6, "K": 2, "G": 3, "H": 4}
ON_ONE, ON_TWO = Placement(make_mesh(1)), Placement(make_mesh(2))


def normal(*shape: int) -> np.ndarray:
    return np.random.default_rng(1).normal(size=shape).astype(np.float32)


def normed(x: np.ndarray, norm: RMSNorm) -> np.ndarray:
    return x / np.sqrt((x**2).mean(-1, keepdims=True) + norm.eps) * np.asarray(norm.scale[...])


@pytest.mark.parametrize("placement", [ON_ONE, ON_TWO], ids=["tp 1", "tp 2"])
@pytest.mark.parametrize(
    ("axes", "letters"), [("D -> K G H", "td,dkgh->tkgh"), ("K G H -> D", "tkgh,kghd->td")]
)
def test_an_einsum_replaces_the_last_axes(axes, letters, placement):
    layer = filled(Einsum(axes, SIZES, bias=True))
    x = normal(5, *(SIZES[axis] for axis in axes.split("->")[0].split()))
    expected = np.einsum(letters, x, layer.weight[...]) + np.asarray(layer.bias[...])
    found = layer(jnp.asarray(x), placement)
    np.testing.assert_allclose(found, expected, rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize("placement", [ON_ONE, ON_TWO], ids=["tp 1", "tp 2"])
def test_an_einsum_after_a_norm_adds_norms_and_maps(placement):
    layer, norm = filled(Einsum("D -> K G H", SIZES, bias=True)), filled(RMSNorm(6, 1e-5))
    x, delta = normal(2, 5, 6)
    total, found = layer.after(norm, jnp.asarray(x), jnp.asarray(delta), placement)
    np.testing.assert_allclose(total, x + delta, rtol=1e-6)
    expected = np.einsum("td,dkgh->tkgh", normed(x + delta, norm), layer.weight[...])
    np.testing.assert_allclose(found, expected + np.asarray(layer.bias[...]), rtol=1e-5, atol=1e-5)


def test_the_parts_of_a_fused_weight_lie_one_after_another():
    layer = Einsum("D -> K G H", SIZES, bias=True, part_axis="G", parts={"q": 1, "k": 1, "v": 1})
    assert dict(layer.weight.parts)["k"] == Part(axis=2, start=1, stop=2)
    assert dict(layer.bias.parts)["v"] == Part(axis=1, start=2, stop=3)


@pytest.mark.parametrize("placement", [ON_ONE, ON_TWO], ids=["tp 1", "tp 2"])
def test_a_gated_mlp_multiplies_the_activated_gate_with_up(placement):
    mlp, norm = filled(GatedMLP(6, 8, bias=True)), filled(RMSNorm(6, 1e-5))
    x, delta = normal(2, 3, 6)
    w, b = np.asarray(mlp.gate_up.weight[...]), np.asarray(mlp.gate_up.bias[...])
    read = normed(x + delta, norm)
    gate, up = read @ w[:, 0] + b[0], read @ w[:, 1] + b[1]
    hidden = gate / (1 + np.exp(-gate)) * up
    expected = hidden @ np.asarray(mlp.down.weight[...]) + np.asarray(mlp.down.bias[...])
    total, found = mlp(norm, jnp.asarray(x), jnp.asarray(delta), step_of(3, placement))
    np.testing.assert_allclose(total, x + delta, rtol=1e-6)
    np.testing.assert_allclose(found, expected, rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize("placement", [ON_ONE, ON_TWO], ids=["tp 1", "tp 2"])
def test_rows_beyond_the_vocabulary_give_no_logits(placement):
    embed, norm = filled(Embed(5, 6, padding=3)), filled(RMSNorm(6, 1e-5))
    table = np.asarray(embed.table[...])
    assert table.shape == (8, 6)
    x, delta = normal(2, 2, 6)
    logits = embed.logits_after(norm, jnp.asarray(x), jnp.asarray(delta), placement)
    assert logits.shape == (2, 5)
    expected = normed(x + delta, norm) @ table[:5].T
    np.testing.assert_allclose(logits, expected, rtol=1e-5, atol=1e-5)


def test_logits_are_float32_whatever_the_weights_are():
    embed, norm = filled(Embed(5, 6)), filled(RMSNorm(6, 1e-5))
    for weight in (embed.table, norm.scale):
        weight.set_value(weight[...].astype(jnp.bfloat16))
    x = embed(jnp.array([1, 2], jnp.int32), make_mesh(1))
    assert x.dtype == jnp.bfloat16
    assert embed.logits_after(norm, x, x, ON_ONE).dtype == jnp.float32


@pytest.mark.parametrize("tp", [1, 2])
def test_every_token_gets_its_own_row_on_however_many_devices(tp):
    embed = filled(Embed(5, 6, padding=1))
    tokens = jnp.array([0, 4, 2, 3, 1, 0], jnp.int32)
    rows = embed(tokens, make_mesh(tp))
    assert np.array_equal(rows, np.asarray(embed.table[...])[np.asarray(tokens)])
