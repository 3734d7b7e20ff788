"""A tiny Llama on the disk, made without torch, and its plain path: no cache, no pages, float64.

Matrices are large enough (std 0.15) that a wrong position, page or mask moves the logits visibly.
"""

import dataclasses
import functools
import json
from pathlib import Path

import numpy as np
from safetensors.numpy import save_file


@dataclasses.dataclass(frozen=True)
class TinyLlama:
    """Sizes of the model; `weights` and `logits` follow from them and the seed."""

    vocab_size: int = 96
    num_layers: int = 2
    d_model: int = 32
    d_ff: int = 48
    num_heads: int = 4
    num_kv_heads: int = 2
    head_size: int = 8
    context_length: int = 256
    seed: int = 0

    @functools.cached_property
    def weights(self) -> dict[str, np.ndarray]:
        random = np.random.default_rng(self.seed)
        heads, kv = self.num_heads * self.head_size, self.num_kv_heads * self.head_size
        shapes = {"model.embed_tokens": (self.vocab_size, self.d_model)}
        shapes["lm_head"] = (self.vocab_size, self.d_model)
        for layer in range(self.num_layers):
            at = f"model.layers.{layer}"
            shapes[f"{at}.self_attn.q_proj"] = (heads, self.d_model)
            shapes[f"{at}.self_attn.k_proj"] = (kv, self.d_model)
            shapes[f"{at}.self_attn.v_proj"] = (kv, self.d_model)
            shapes[f"{at}.self_attn.o_proj"] = (self.d_model, heads)
            shapes[f"{at}.mlp.gate_proj"] = (self.d_ff, self.d_model)
            shapes[f"{at}.mlp.up_proj"] = (self.d_ff, self.d_model)
            shapes[f"{at}.mlp.down_proj"] = (self.d_model, self.d_ff)
        weights = {f"{name}.weight": random.normal(0, 0.15, s) for name, s in shapes.items()}
        norms = ["model.norm"] + [
            f"model.layers.{layer}.{name}"
            for layer in range(self.num_layers)
            for name in ("input_layernorm", "post_attention_layernorm")
        ]
        weights |= {f"{name}.weight": random.normal(1, 0.2, self.d_model) for name in norms}
        return {name: weight.astype(np.float32) for name, weight in weights.items()}

    def save(self, folder: Path) -> Path:
        """Writes config.json, generation_config.json and model.safetensors; returns the folder."""
        folder.mkdir(parents=True, exist_ok=True)
        config = {
            "architectures": ["LlamaForCausalLM"],
            "model_type": "llama",
            "vocab_size": self.vocab_size,
            "num_hidden_layers": self.num_layers,
            "hidden_size": self.d_model,
            "intermediate_size": self.d_ff,
            "num_attention_heads": self.num_heads,
            "num_key_value_heads": self.num_kv_heads,
            "head_dim": self.head_size,
            "max_position_embeddings": self.context_length,
            "rms_norm_eps": 1e-5,
            "rope_theta": 10000.0,
            "hidden_act": "silu",
            "tie_word_embeddings": False,
        }
        (folder / "config.json").write_text(json.dumps(config))
        (folder / "generation_config.json").write_text(json.dumps({"eos_token_id": [0, 1]}))
        save_file(self.weights, folder / "model.safetensors")
        return folder

    def logits(self, tokens: list[int]) -> np.ndarray:
        """Logits f64[T, V] after every token, computed all at once and without a cache."""
        w = {name: weight.astype(np.float64) for name, weight in self.weights.items()}
        x = w["model.embed_tokens.weight"][tokens]
        for layer in range(self.num_layers):
            at = f"model.layers.{layer}"
            h = _norm(x, w[f"{at}.input_layernorm.weight"])
            q, k, v = (h @ w[f"{at}.self_attn.{part}_proj.weight"].T for part in "qkv")
            x = x + self._attend(q, k, v) @ w[f"{at}.self_attn.o_proj.weight"].T
            h = _norm(x, w[f"{at}.post_attention_layernorm.weight"])
            gate, up = (h @ w[f"{at}.mlp.{part}_proj.weight"].T for part in ("gate", "up"))
            x = x + (gate / (1 + np.exp(-gate)) * up) @ w[f"{at}.mlp.down_proj.weight"].T
        return _norm(x, w["model.norm.weight"]) @ w["lm_head.weight"].T

    def logprobs(self, tokens: list[int]) -> np.ndarray:
        logits = self.logits(tokens)
        shifted = logits - logits.max(-1, keepdims=True)
        return shifted - np.log(np.exp(shifted).sum(-1, keepdims=True))

    def _attend(self, q: np.ndarray, k: np.ndarray, v: np.ndarray) -> np.ndarray:
        count = len(q)
        q = _rope(q.reshape(count, self.num_heads, self.head_size))
        k = _rope(k.reshape(count, self.num_kv_heads, self.head_size))
        v = v.reshape(count, self.num_kv_heads, self.head_size)
        group = self.num_heads // self.num_kv_heads
        k, v = np.repeat(k, group, 1), np.repeat(v, group, 1)
        scores = np.einsum("TNH,UNH->NTU", q, k) / self.head_size**0.5
        scores = np.where(np.tri(count, dtype=bool), scores, -np.inf)
        weights = np.exp(scores - scores.max(-1, keepdims=True))
        weights /= weights.sum(-1, keepdims=True)
        return np.einsum("NTU,UNH->TNH", weights, v).reshape(count, -1)


def _norm(x: np.ndarray, scale: np.ndarray) -> np.ndarray:
    return x / np.sqrt((x**2).mean(-1, keepdims=True) + 1e-5) * scale


def _rope(x: np.ndarray) -> np.ndarray:
    half = x.shape[-1] // 2
    angles = np.arange(len(x))[:, None] * 10000.0 ** (-np.arange(half) / half)
    cos, sin = np.cos(angles)[:, None], np.sin(angles)[:, None]
    a, b = x[..., :half], x[..., half:]
    return np.concatenate([a * cos - b * sin, b * cos + a * sin], -1)
