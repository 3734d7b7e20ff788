import jax.numpy as jnp
import numpy as np
import pytest

from sgjax.layers.einsum import Einsum, product
from sgjax.layers.embed import Embed
from sgjax.layers.mlp import GatedMLP
from sgjax.layers.norm import RMSNorm
from sgjax.layers.weight import Part
from sgjax.sharding.mesh import Placement, make_mesh
from tests.layers.values import filled

SIZES = {"D": 6, "K": 2, "G": 3, "H": 4}


def normal(*shape: int) -> np.ndarray:
    return np.random.default_rng(1).normal(size=shape).astype(np.float32)


@pytest.mark.parametrize(
    ("axes", "letters"), [("D -> K G H", "td,dkgh->tkgh"), ("K G H -> D", "tkgh,kghd->td")]
)
def test_an_einsum_replaces_the_last_axes(axes, letters):
    layer = filled(Einsum(axes, SIZES))
    x = normal(5, *(SIZES[axis] for axis in axes.split("->")[0].split()))
    expected = np.einsum(letters, x, layer.weight[...])
    np.testing.assert_allclose(layer(jnp.asarray(x)), expected, rtol=1e-5, atol=1e-5)


def test_an_einsum_adds_its_bias_to_what_it_gives():
    layer = filled(Einsum("D -> K G H", SIZES, bias=True))
    x = jnp.zeros((5, 6), jnp.float32)
    np.testing.assert_array_equal(layer(x), np.broadcast_to(layer.bias[...], (5, 2, 3, 4)))


def test_the_parts_of_a_fused_weight_lie_one_after_another():
    layer = Einsum("D -> K G H", SIZES, bias=True, part_axis="G", parts={"q": 1, "k": 1, "v": 1})
    assert dict(layer.weight.parts)["k"] == Part(axis=2, start=1, stop=2)
    assert dict(layer.bias.parts)["v"] == Part(axis=1, start=2, stop=3)


def test_a_product_sums_in_float32_and_gives_the_dtype_of_its_input():
    x, w = jnp.ones((1, 1024), jnp.bfloat16), jnp.ones((1024, 1), jnp.bfloat16)
    assert product(x, w).dtype == jnp.bfloat16
    assert product(x, w)[0, 0] == 1024  # bfloat16 sums would stop at 256


def test_rms_norm_divides_the_sum_in_float32_and_scales_in_the_inputs_dtype():
    norm = filled(RMSNorm(6, 1e-5))
    x, delta = normal(2, 3, 6)
    total = x + delta
    scaled = np.asarray(norm.scale[...])
    expected = total / np.sqrt((total**2).mean(-1, keepdims=True) + 1e-5) * scaled
    found = norm(jnp.asarray(x), jnp.asarray(delta), Placement(make_mesh(1)))
    np.testing.assert_allclose(found[0], total, rtol=1e-6)
    np.testing.assert_allclose(found[1], expected, rtol=1e-5)


def test_rms_norm_survives_squares_that_float16_cannot_hold():
    norm = RMSNorm(4, 1e-6)
    norm = filled(norm, scale=np.ones(4))
    norm.scale.set_value(norm.scale[...].astype(jnp.float16))
    x = jnp.full((1, 4), 1000.0, jnp.float16)
    _, out = norm(x, jnp.zeros_like(x), Placement(make_mesh(1)))
    assert out.dtype == jnp.float16
    np.testing.assert_array_equal(out, np.ones((1, 4)))


def test_a_gated_mlp_multiplies_the_activated_gate_with_up():
    mlp = filled(GatedMLP(6, 8, bias=True))
    x = normal(3, 6)
    w, b = np.asarray(mlp.gate_up.weight[...]), np.asarray(mlp.gate_up.bias[...])
    gate, up = x @ w[:, 0] + b[0], x @ w[:, 1] + b[1]
    hidden = gate / (1 + np.exp(-gate)) * up
    expected = hidden @ np.asarray(mlp.down.weight[...]) + np.asarray(mlp.down.bias[...])
    np.testing.assert_allclose(mlp(jnp.asarray(x)), expected, rtol=1e-4, atol=1e-4)


def test_rows_beyond_the_vocabulary_give_no_logits():
    embed = filled(Embed(5, 6, padding=3))
    table = np.asarray(embed.table[...])
    assert table.shape == (8, 6)
    logits = embed.logits(jnp.asarray(table[:2]))
    assert logits.shape == (2, 5)
    np.testing.assert_allclose(logits, table[:2] @ table[:5].T, rtol=1e-5, atol=1e-5)


def test_logits_are_float32_whatever_the_weights_are():
    embed = Embed(5, 6)
    embed = filled(embed)
    embed.table.set_value(embed.table[...].astype(jnp.bfloat16))
    x = embed(jnp.array([1, 2], jnp.int32), make_mesh(1))
    assert x.dtype == jnp.bfloat16
    assert embed.logits(x).dtype == jnp.float32


@pytest.mark.parametrize("tp", [1, 2])
def test_every_token_gets_its_own_row_on_however_many_devices(tp):
    embed = filled(Embed(5, 6, padding=1))
    tokens = jnp.array([0, 4, 2, 3, 1, 0], jnp.int32)
    rows = embed(tokens, make_mesh(tp))
    assert np.array_equal(rows, np.asarray(embed.table[...])[np.asarray(tokens)])
