"""RoPE against transformers' own frequencies, on the numbers of published models."""

import jax.numpy as jnp
import numpy as np
import pytest

from sgjax.kernels_pallas.rotate_and_write.reference import rotate
from sgjax.layers import rope
from sgjax.layers.rope import RopeConfig

LLAMA3 = {
    "factor": 8.0,
    "low_freq_factor": 1.0,
    "high_freq_factor": 4.0,
    "original_max_position_embeddings": 8192,
}
YARN = {"factor": 4.0, "original_max_position_embeddings": 32768}
SCALINGS = {
    "plain": (10000.0, "default", {}),
    "linear": (10000.0, "linear", {"factor": 2.0}),
    "llama 3.1": (500000.0, "llama3", LLAMA3),
    "llama 3.2": (500000.0, "llama3", LLAMA3 | {"factor": 32.0}),
    "qwen with yarn": (1000000.0, "yarn", YARN),
    "yarn, attention factor given": (10000.0, "yarn", YARN | {"attention_factor": 0.75}),
    "yarn, mscale": (10000.0, "yarn", YARN | {"mscale": 0.707, "mscale_all_dim": 1.0}),
    "yarn, betas": (10000.0, "yarn", YARN | {"beta_fast": 16, "beta_slow": 4, "truncate": False}),
}


def config(theta: float, kind: str, params: dict[str, float]) -> RopeConfig:
    return RopeConfig(theta, kind, tuple(sorted(params.items())))


@pytest.mark.torch
@pytest.mark.parametrize("name", SCALINGS)
@pytest.mark.parametrize("head_size", [64, 128])
def test_frequencies_are_those_of_transformers(name, head_size):
    from transformers import LlamaConfig
    from transformers.models.llama.modeling_llama import LlamaRotaryEmbedding

    theta, kind, params = SCALINGS[name]
    reference = LlamaRotaryEmbedding(
        LlamaConfig(
            hidden_size=head_size * 2,
            num_attention_heads=2,
            max_position_embeddings=131072,
            rope_parameters={"rope_type": kind, "rope_theta": theta, **params},
        )
    )
    ours = config(theta, kind, params)
    np.testing.assert_allclose(
        rope.frequencies(ours, head_size), reference.inv_freq.numpy(), rtol=1e-6
    )
    assert rope.attention_factor(ours) == pytest.approx(reference.attention_scaling, rel=1e-12)


def test_a_score_depends_on_the_distance_alone():
    ours = config(100.0, "default", {})
    q, k = np.random.default_rng(0).normal(size=(2, 1, 16)).astype(np.float32)

    def score(q_at: int, k_at: int) -> float:
        def turned(x: np.ndarray, at: int) -> np.ndarray:
            angles = rope.angles(ours, 16, jnp.array([at], jnp.int32))
            return np.asarray(rotate(jnp.asarray(x), *angles))

        return float((turned(q, q_at) * turned(k, k_at)).sum())

    assert score(9, 4) == pytest.approx(score(105, 100), abs=1e-4)
    assert score(9, 4) != pytest.approx(score(9, 5), abs=1e-2)


def test_only_a_fraction_of_the_features_may_turn():
    ours = RopeConfig(100.0, fraction=0.5)
    x = jnp.asarray(np.random.default_rng(0).normal(size=(3, 2, 16)), jnp.float32)
    out = rotate(x, *rope.angles(ours, 16, jnp.array([0, 1, 2], jnp.int32)))
    np.testing.assert_array_equal(out[..., 8:], x[..., 8:])
    np.testing.assert_array_equal(out[0], x[0])
    assert np.abs(out[1:, :, :8] - x[1:, :, :8]).min() > 0


def test_dynamic_scaling_begins_past_the_original_context_and_knows_its_own_position_only():
    params = {"factor": 2.0, "original_max_position_embeddings": 8}
    positions = jnp.array([3, 7, 8, 30], jnp.int32)
    cos, _ = rope.angles(config(100.0, "dynamic", params), 16, positions)
    plain, _ = rope.angles(config(100.0, "default", {}), 16, positions)
    np.testing.assert_allclose(cos[:2], plain[:2], rtol=0, atol=1e-6)
    assert np.abs(cos[2:] - plain[2:]).max(axis=-1).min() > 1e-3
    alone, _ = rope.angles(config(100.0, "dynamic", params), 16, positions[2:3])
    np.testing.assert_array_equal(alone[0], cos[2])
