"""Grok-1, which transformers lacks, against its definition in numpy."""

import json
from pathlib import Path

import numpy as np
import pytest
from safetensors.numpy import save_file

from sgjax.models import FAMILIES
from tests.models.harness import SCHEDULE, Stepper, sequences

pytestmark = pytest.mark.torch  # the harness needs it

V, D, X, N, K, H, E, TOP, LAYERS = 97, 64, 48, 4, 2, 16, 4, 2, 2
CAP, EPS, THETA = 30.0, 1e-5, 10000.0
CONFIG = {
    "architectures": ["Grok1ModelForCausalLM"],
    "attn_output_multiplier": 0.9,
    "embedding_multiplier_scale": 3.0,
    "head_dim": H,
    "hidden_size": D,
    "intermediate_size": X,
    "max_attn_value": CAP,
    "max_position_embeddings": 64,
    "num_attention_heads": N,
    "num_experts_per_tok": TOP,
    "num_hidden_layers": LAYERS,
    "num_key_value_heads": K,
    "num_local_experts": E,
    "output_multiplier_scale": 0.6,
    "rms_norm_eps": EPS,
    "tie_word_embeddings": True,
    "vocab_size": V,
}
FEATURES = ("embedding_multiplier_scale", "output_multiplier_scale", "attn_output_multiplier")


def tensors() -> dict[str, np.ndarray]:
    shapes: dict[str, tuple[int, ...]] = {"model.embed_tokens": (V, D), "model.norm": (D,)}
    for layer in range(LAYERS):
        at = f"model.layers.{layer}"
        shapes |= {
            f"{at}.self_attn.q_proj": (N * H, D),
            f"{at}.self_attn.k_proj": (K * H, D),
            f"{at}.self_attn.v_proj": (K * H, D),
            f"{at}.self_attn.o_proj": (D, N * H),
            f"{at}.block_sparse_moe.gate": (E, D),
        }
        for norm in ("pre_attn", "post_attn", "pre_moe", "post_moe"):
            shapes[f"{at}.{norm}_norm"] = (D,)
        for expert in range(E):
            inside = f"{at}.block_sparse_moe.experts.{expert}"
            shapes |= {f"{inside}.w1": (X, D), f"{inside}.w3": (X, D), f"{inside}.w2": (D, X)}
    random = np.random.default_rng(0)
    drawn = {
        name: random.normal(0, 0.15, shape) if len(shape) > 1 else random.normal(1, 0.3, shape)
        for name, shape in shapes.items()
    }
    for layer in range(LAYERS):  # so that the cap of the router counts
        drawn[f"model.layers.{layer}.block_sparse_moe.gate"] *= 10
        drawn[f"model.layers.{layer}.self_attn.q_proj"] *= 3
    return {f"{name}.weight": values.astype(np.float32) for name, values in drawn.items()}


def capped(x: np.ndarray) -> np.ndarray:
    return CAP * np.tanh(x / CAP)


def normed(x: np.ndarray, scale: np.ndarray) -> np.ndarray:
    return x / np.sqrt((x**2).mean(-1, keepdims=True) + EPS) * scale


def turned(x: np.ndarray) -> np.ndarray:
    """RoPE of [T, heads, H]."""
    angle = np.arange(len(x))[:, None] * THETA ** -(np.arange(0, H, 2) / H)
    cos, sin = np.cos(angle)[:, None], np.sin(angle)[:, None]
    a, b = np.split(x, 2, -1)
    return np.concatenate([a * cos - b * sin, b * cos + a * sin], -1)


def attention(x: np.ndarray, w: dict[str, np.ndarray], at: str) -> np.ndarray:
    q, k, v = (
        (x @ w[f"{at}.{name}_proj.weight"].T).reshape(len(x), -1, H) for name in ("q", "k", "v")
    )
    q, k, v = turned(q), turned(k).repeat(N // K, 1), v.repeat(N // K, 1)
    scores = capped(np.einsum("tnh,unh->ntu", q, k) * CONFIG["attn_output_multiplier"])
    p = np.where(np.tri(len(x), dtype=bool), np.exp(scores), 0)
    out = np.einsum("ntu,unh->tnh", p / p.sum(-1, keepdims=True), v)
    return out.reshape(len(x), -1) @ w[f"{at}.o_proj.weight"].T


def gelu(x: np.ndarray) -> np.ndarray:
    return 0.5 * x * (1 + np.tanh(np.sqrt(2 / np.pi) * (x + 0.044715 * x**3)))


def experts(x: np.ndarray, w: dict[str, np.ndarray], at: str) -> np.ndarray:
    scores = np.exp(capped(x @ w[f"{at}.gate.weight"].T))
    scores /= scores.sum(-1, keepdims=True)
    out = np.zeros_like(x)
    for t, e in np.ndindex(scores.shape):
        if e in np.argsort(scores[t])[-TOP:]:
            gate, down, up = (w[f"{at}.experts.{e}.w{i}.weight"] for i in (1, 2, 3))
            out[t] += scores[t, e] * ((gelu(x[t] @ gate.T) * (x[t] @ up.T)) @ down.T)
    return out


def logits(tokens: np.ndarray, w: dict[str, np.ndarray]) -> np.ndarray:
    w = {name: values.astype(np.float64) for name, values in w.items()}
    x = w["model.embed_tokens.weight"][tokens] * CONFIG["embedding_multiplier_scale"]
    for layer in range(LAYERS):
        at = f"model.layers.{layer}"
        h = attention(normed(x, w[f"{at}.pre_attn_norm.weight"]), w, f"{at}.self_attn")
        x = x + normed(h, w[f"{at}.post_attn_norm.weight"])
        h = experts(normed(x, w[f"{at}.pre_moe_norm.weight"]), w, f"{at}.block_sparse_moe")
        x = x + normed(h, w[f"{at}.post_moe_norm.weight"])
    x = normed(x, w["model.norm.weight"])
    return x @ w["model.embed_tokens.weight"].T * CONFIG["output_multiplier_scale"]


def save(folder: Path, **change: object) -> dict[str, np.ndarray]:
    weights = tensors()
    (folder / "config.json").write_text(json.dumps(CONFIG | change))
    save_file(weights, folder / "model.safetensors")
    return weights


@pytest.mark.parametrize("tp", [1, 2])
def test_logits_are_those_of_the_definition_in_any_cut(tp, tmp_path):
    weights, tokens = save(tmp_path), sequences(V)
    found = Stepper(tmp_path, tp).run(SCHEDULE, tokens)
    for row, ids in tokens.items():
        expected = logits(ids, weights)
        np.testing.assert_allclose(found[row], expected, rtol=0, atol=1e-4, err_msg=row)


def test_every_feature_makes_a_difference(monkeypatch):
    weights, ids = tensors(), sequences(V)["whole"]
    wanted = logits(ids, weights)
    for feature in FEATURES:
        with monkeypatch.context() as patch:
            patch.setitem(CONFIG, feature, 1.0)
            assert np.abs(logits(ids, weights) - wanted).max() > 1e-2, feature
    monkeypatch.setattr("tests.models.test_grok1.capped", lambda x: x)
    assert np.abs(logits(ids, weights) - wanted).max() > 1e-2


def test_both_names_of_the_architecture_are_known():
    assert FAMILIES["Grok1ForCausalLM"] == FAMILIES["Grok1ModelForCausalLM"] == "grok1"
