"""One program a token and kv head: its queries, its key and its value are read and written once."""

import functools

import jax
import jax.numpy as jnp
from jax import lax
from jax.experimental import pallas as pl
from jax.experimental.pallas import triton as plgpu

from sgjax.kernels_pallas.tiles import next_power_of_two


def rotate_and_write(qkv, cos, sin, k, v, slots, *, norms, eps, interpret=False):
    """The contract. `interpret` runs the kernel in Pallas's interpreter, on any platform."""
    T, K, parts, H = qkv.shape
    scales = () if norms is None else norms
    inputs = (qkv, cos, sin, slots, *scales, k, v)
    return tuple(
        pl.pallas_call(
            functools.partial(_kernel, is_normed=norms is not None, eps=eps),
            grid=(T, K),
            out_shape=(
                jax.ShapeDtypeStruct((T, K, parts - 2, H), qkv.dtype),
                jax.ShapeDtypeStruct(k.shape, k.dtype),
                jax.ShapeDtypeStruct(v.shape, v.dtype),
            ),
            input_output_aliases={len(inputs) - 2: 1, len(inputs) - 1: 2},
            interpret=interpret,
            compiler_params=plgpu.CompilerParams(num_warps=2, num_stages=1),
            name="rotate_and_write",
        )(*inputs)
    )


def _kernel(qkv_ref, cos_ref, sin_ref, slots_ref, *refs, is_normed, eps):
    # qkv: [T, K, G + 2, H]   cos, sin: f32[T, half]   slots: i32[T]   scales: [H]
    # q: [T, K, G, H]   k, v: [slots, K, H]
    *scales, _, _, q_ref, k_ref, v_ref = refs
    token, head = pl.program_id(0), pl.program_id(1)
    H, half, G = qkv_ref.shape[3], cos_ref.shape[1], qkv_ref.shape[2] - 2
    slot = slots_ref[token]
    kept = slot < k_ref.shape[0]
    part = jnp.arange(next_power_of_two(G + 1))[:, None]  # the queries and, last, the key
    is_key = part == G
    features = _Features(H, half)

    # A head is three pieces: the features that turn, those that they turn with, and the rest.
    pieces = [
        plgpu.load(qkv_ref.at[token, head, part, at], mask=(part <= G) & own, other=0)
        for at, own in features.pieces
    ]
    if is_normed:
        pieces = _normed(pieces, features, scales, is_key, eps)
    own = (features.turning < half)[0]
    cos = plgpu.load(cos_ref.at[token, features.turning[0]], mask=own, other=0)[None, :]
    sin = plgpu.load(sin_ref.at[token, features.turning[0]], mask=own, other=0)[None, :]
    first, second = (piece.astype(jnp.float32) for piece in pieces[:2])
    turned = [first * cos - second * sin, second * cos + first * sin, *pieces[2:]]
    slot = jnp.where(kept, slot, 0)
    for (at, own), piece in zip(features.pieces, turned, strict=True):
        plgpu.store(
            q_ref.at[token, head, part, at], piece.astype(q_ref.dtype), mask=(part < G) & own
        )
        key = jnp.sum(jnp.where(is_key, piece.astype(jnp.float32), 0.0), axis=0)
        key = key.astype(q_ref.dtype).astype(k_ref.dtype)
        plgpu.store(k_ref.at[slot, head, at[0]], key, mask=own[0] & kept)
    h = jnp.arange(next_power_of_two(H))
    value = plgpu.load(qkv_ref.at[token, head, G + 1, h], mask=h < H, other=0)
    plgpu.store(v_ref.at[slot, head, h], value.astype(v_ref.dtype), mask=(h < H) & kept)


class _Features:
    """The pieces of a head, each as (features [1, n], which of these are its own [1, n])."""

    def __init__(self, H: int, half: int):
        self.turning = jnp.arange(next_power_of_two(half))[None, :]
        own = self.turning < half
        self.pieces = [(self.turning, own), (self.turning + half, own)]
        if rest := H - 2 * half:
            at = jnp.arange(next_power_of_two(rest))[None, :]
            self.pieces.append((at + 2 * half, at < rest))
        self.size = H


def _normed(pieces, features, scales, is_key, eps):
    """Every head over the root of its mean square, in float32, cast back, then scaled."""
    wide = [piece.astype(jnp.float32) for piece in pieces]
    total = sum(jnp.sum(piece * piece, axis=1, keepdims=True) for piece in wide)
    factor = lax.rsqrt(total / features.size + eps)
    normed = []
    for piece, (at, own) in zip(wide, features.pieces, strict=True):
        of_queries, of_keys = (plgpu.load(ref.at[at], mask=own, other=0) for ref in scales)
        scale = jnp.where(is_key, of_keys, of_queries)
        normed.append((piece * factor).astype(pieces[0].dtype) * scale)
    return normed
