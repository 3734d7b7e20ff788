"""A Llama in plain JAX for training: dense causal attention over packed rows."""

import dataclasses
import functools
from typing import Any

import jax
import jax.numpy as jnp

Params = dict[str, Any]


@dataclasses.dataclass(frozen=True)
class ModelSize:
    vocab_size: int = 4096
    hidden_size: int = 256
    num_layers: int = 8
    num_heads: int = 4
    num_kv_heads: int = 2
    head_size: int = 64
    ffn_size: int = 768
    rope_theta: float = 100_000.0
    norm_eps: float = 1e-5
    max_positions: int = 8192


def init_params(size: ModelSize, key: jax.Array) -> Params:
    """Float32 parameters; those of the layers are stacked along a first axis."""
    D, F, L = size.hidden_size, size.ffn_size, size.num_layers
    Q, KV = size.num_heads * size.head_size, size.num_kv_heads * size.head_size
    keys = iter(jax.random.split(key, 8))

    def matrix(*shape: int, std: float = 0.02) -> jax.Array:
        return std * jax.random.normal(next(keys), shape, jnp.float32)

    out_std = 0.02 / (2 * L) ** 0.5
    layers = {
        "attn_norm": jnp.ones((L, D)),
        "mlp_norm": jnp.ones((L, D)),
        "q": matrix(L, D, Q, std=0.04),
        "k": matrix(L, D, KV, std=0.04),
        "v": matrix(L, D, KV, std=0.04),
        "o": matrix(L, Q, D, std=out_std),
        "gate": matrix(L, D, F, std=0.04),
        "up": matrix(L, D, F, std=0.04),
        "down": matrix(L, F, D, std=out_std),
    }
    return {"embed": matrix(size.vocab_size, D), "norm": jnp.ones(D), "layers": layers}


def rms_norm(x: jax.Array, scale: jax.Array, eps: float) -> jax.Array:
    """Computes in float32 and returns the dtype of `x`."""
    x32 = x.astype(jnp.float32)
    x32 = x32 * jax.lax.rsqrt(jnp.mean(x32 * x32, axis=-1, keepdims=True) + eps)
    return (x32 * scale).astype(x.dtype)


def rope(x: jax.Array, positions: jax.Array, theta: float) -> jax.Array:
    """Rotates the halves of each head of `x` [B T N H] by its position [B T]."""
    half = x.shape[-1] // 2
    frequencies = theta ** (-jnp.arange(half, dtype=jnp.float32) / half)
    angles = positions[..., None, None] * frequencies
    cos, sin = jnp.cos(angles), jnp.sin(angles)
    a, b = jnp.split(x.astype(jnp.float32), 2, axis=-1)
    return jnp.concatenate([a * cos - b * sin, b * cos + a * sin], axis=-1).astype(x.dtype)


def attention(q: jax.Array, k: jax.Array, v: jax.Array, mask: jax.Array) -> jax.Array:
    """Grouped-query attention of [B T N H] on [B T K H] under a mask [B T T]."""
    B, T, N, H = q.shape
    K = k.shape[2]
    q = q.reshape(B, T, K, N // K, H)
    logits = jnp.einsum("btkgh,bskh->bkgts", q, k).astype(jnp.float32) * H**-0.5
    logits = jnp.where(mask[:, None, None], logits, -1e30)
    weights = jax.nn.softmax(logits, axis=-1).astype(v.dtype)
    return jnp.einsum("bkgts,bskh->btkgh", weights, v).reshape(B, T, N * H)


def block(size: ModelSize, x: jax.Array, layer: Params, positions: jax.Array, mask: jax.Array):
    B, T, _ = x.shape
    layer = {name: w if name.endswith("norm") else w.astype(x.dtype) for name, w in layer.items()}
    h = rms_norm(x, layer["attn_norm"], size.norm_eps)
    q = (h @ layer["q"]).reshape(B, T, size.num_heads, size.head_size)
    k = (h @ layer["k"]).reshape(B, T, size.num_kv_heads, size.head_size)
    v = (h @ layer["v"]).reshape(B, T, size.num_kv_heads, size.head_size)
    q, k = rope(q, positions, size.rope_theta), rope(k, positions, size.rope_theta)
    x = x + attention(q, k, v, mask) @ layer["o"]
    h = rms_norm(x, layer["mlp_norm"], size.norm_eps)
    return x + (jax.nn.silu(h @ layer["gate"]) * (h @ layer["up"])) @ layer["down"]


def packed_mask(segments: jax.Array) -> jax.Array:
    """Each token [B T] sees itself and the earlier tokens of its own document."""
    T = segments.shape[1]
    same = segments[:, :, None] == segments[:, None, :]
    return same & jnp.tril(jnp.ones((T, T), bool))


def packed_positions(segments: jax.Array) -> jax.Array:
    """The position of each token [B T] in its own document."""
    T = segments.shape[1]
    index = jnp.arange(T)
    starts = jnp.concatenate(
        [jnp.ones_like(segments[:, :1], bool), segments[:, 1:] != segments[:, :-1]], axis=1
    )
    return index - jax.lax.cummax(jnp.where(starts, index, 0), axis=1)


def forward(
    size: ModelSize, params: Params, tokens: jax.Array, segments: jax.Array, *, dtype: Any
) -> jax.Array:
    """The last hidden states [B T D] in `dtype`; long rows recompute their layers backwards."""
    positions, mask = packed_positions(segments), packed_mask(segments)
    # As matrix products, so that no gradient is a scatter, which is slow and has no fixed order.
    x = jax.nn.one_hot(tokens, size.vocab_size, dtype=dtype) @ params["embed"].astype(dtype)
    step = functools.partial(block, size)
    if tokens.shape[1] > 1024:
        step = jax.checkpoint(step)
    for i in range(size.num_layers):
        x = step(x, jax.tree.map(lambda w, i=i: w[i], params["layers"]), positions, mask)
    return rms_norm(x, params["norm"], size.norm_eps)


def loss(
    size: ModelSize,
    params: Params,
    tokens: jax.Array,
    segments: jax.Array,
    weights: jax.Array,
    *,
    dtype: Any,
) -> jax.Array:
    """The weighted mean cross-entropy in nats of each next token within its document."""
    x = forward(size, params, tokens, segments, dtype=dtype)[:, :-1]
    logits = (x @ params["embed"].astype(dtype).T).astype(jnp.float32)
    is_target = tokens[:, 1:, None] == jnp.arange(size.vocab_size)
    picked = jnp.sum(jnp.where(is_target, logits, 0.0), axis=-1)
    nats = jax.nn.logsumexp(logits, axis=-1) - picked
    counted = jnp.where(segments[:, 1:] == segments[:, :-1], weights[:, 1:], 0.0)
    return jnp.sum(nats * counted) / jnp.maximum(jnp.sum(counted), 1.0)
