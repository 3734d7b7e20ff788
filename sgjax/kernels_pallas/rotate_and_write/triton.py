"""A program has some tokens' heads of one group: what it reads and writes it touches once."""

import functools
from typing import NamedTuple

import jax
import jax.numpy as jnp
from jax import lax
from jax.experimental import pallas as pl
from jax.experimental.pallas import triton as plgpu

from sgjax.kernels_pallas.tiles import next_power_of_two

_FEW_TOKENS = 256
"""So many leave a GPU idle if a program has more than one."""
_BLOCK = 4
"""Tokens of a program, of more."""


def rotate_and_write(qkv, cos, sin, k, v, slots, *, norms, eps, interpret=False):
    """The contract. `interpret` runs the kernel in Pallas's interpreter, on any platform."""
    T, K, parts, H = qkv.shape
    block = 1 if T <= _FEW_TOKENS else _BLOCK
    scales = () if norms is None else norms
    inputs = (qkv, cos, sin, slots, *scales, k, v)
    return tuple(
        pl.pallas_call(
            functools.partial(_kernel, block=block, is_normed=norms is not None, eps=eps),
            grid=(pl.cdiv(T, block), K),
            out_shape=(
                jax.ShapeDtypeStruct((T, K, parts - 2, H), qkv.dtype),
                jax.ShapeDtypeStruct(k.shape, k.dtype),
                jax.ShapeDtypeStruct(v.shape, v.dtype),
            ),
            input_output_aliases={len(inputs) - 2: 1, len(inputs) - 1: 2},
            interpret=interpret,
            compiler_params=plgpu.CompilerParams(num_warps=2 if block == 1 else 4, num_stages=1),
            name="rotate_and_write",
        )(*inputs)
    )


def _kernel(qkv_ref, cos_ref, sin_ref, slots_ref, *refs, block, is_normed, eps):
    # qkv: [T, K, G + 2, H]   cos, sin: f32[T, half]   slots: i32[T]   scales: [H]
    # q: [T, K, G, H]   k, v: [slots, K, H]
    *scales, _, _, q_ref, k_ref, v_ref = refs
    of_queries, of_keys = scales if is_normed else (None, None)
    T, _, parts, H = qkv_ref.shape
    G, half, num_slots = parts - 2, cos_ref.shape[1], k_ref.shape[0]
    first, group = pl.program_id(0) * block, pl.program_id(1)
    features = _features(H, half)
    rotated = functools.partial(_rotated, qkv_ref, cos_ref, sin_ref, group, features, eps=eps)

    row = jnp.arange(next_power_of_two(block * G))[:, None]
    heads = _Heads(first + row // G, row % G, (row < block * G) & (first + row // G < T))
    for (at, own), piece in zip(features, rotated(heads, of_queries), strict=True):
        index = q_ref.at[heads.token, group, heads.part, at]
        plgpu.store(index, piece.astype(q_ref.dtype), mask=heads.own & own)

    token = first + jnp.arange(next_power_of_two(block))[:, None]
    here = (token < first + block) & (token < T)
    slot = plgpu.load(slots_ref.at[token], mask=here, other=num_slots)
    kept = here & (slot < num_slots)
    slot = jnp.where(kept, slot, 0)
    keys = rotated(_Heads(token, jnp.full_like(token, G), here), of_keys)
    for (at, own), piece in zip(features, keys, strict=True):
        key = piece.astype(q_ref.dtype).astype(k_ref.dtype)
        plgpu.store(k_ref.at[slot, group, at], key, mask=kept & own)
    h = jnp.arange(next_power_of_two(H))[None, :]
    value = plgpu.load(qkv_ref.at[token, group, G + 1, h], mask=here & (h < H), other=0)
    plgpu.store(v_ref.at[slot, group, h], value.astype(v_ref.dtype), mask=kept & (h < H))


class _Heads(NamedTuple):
    """Heads of a group's projections, each [n, 1]: of which token, which part of the group, and
    whether it is there."""

    token: jax.Array
    part: jax.Array
    own: jax.Array


def _rotated(qkv_ref, cos_ref, sin_ref, group, features, heads, scale_ref, *, eps):
    """The pieces of each head in float32: normed, where there is a scale, and turned."""
    pieces = [
        plgpu.load(qkv_ref.at[heads.token, group, heads.part, at], mask=heads.own & own, other=0)
        for at, own in features
    ]
    if scale_ref is not None:
        pieces = _normed(pieces, features, scale_ref, qkv_ref.shape[3], eps)
    at, own = features[0]
    cos, sin = (
        plgpu.load(ref.at[heads.token, at], mask=heads.own & own, other=0)
        for ref in (cos_ref, sin_ref)
    )
    first, second, *rest = (piece.astype(jnp.float32) for piece in pieces)
    return [first * cos - second * sin, second * cos + first * sin, *rest]


def _features(H, half):
    """A head in pieces: the features that turn, those that they turn with, and the rest; each as
    (features [1, n], which of these are its own)."""
    turning = jnp.arange(next_power_of_two(half))[None, :]
    own = turning < half
    pieces = [(turning, own), (turning + half, own)]
    if rest := H - 2 * half:
        at = jnp.arange(next_power_of_two(rest))[None, :]
        pieces.append((at + 2 * half, at < rest))
    return pieces


def _normed(pieces, features, scale_ref, size, eps):
    """Every head over the root of its mean square: float32, then of the scale's dtype, scaled."""
    wide = [piece.astype(jnp.float32) for piece in pieces]
    total = sum(jnp.sum(piece * piece, axis=1, keepdims=True) for piece in wide)
    factor = lax.rsqrt(total / size + eps)
    dtypes = scale_ref.dtype, pieces[0].dtype
    return [
        _scaled(piece * factor, plgpu.load(scale_ref.at[at], mask=own, other=0), *dtypes)
        for piece, (at, own) in zip(wide, features, strict=True)
    ]


def _scaled(piece, scale, dtype, to):
    return (piece.astype(dtype) * scale).astype(to)
