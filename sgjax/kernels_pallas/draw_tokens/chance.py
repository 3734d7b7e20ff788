"""Random numbers from a counter: the same on every platform, in a kernel and outside of one.

Bits are Philox4x32-10's: Salmon et al., "Parallel random numbers: as easy as 1, 2, 3" (2011),
https://doi.org/10.1145/2063384.2063405. One call makes four words; a block of 4096 tokens takes
its first 1024 words from the first ones of 1024 calls, the next from the second ones, and so on.
"""

import jax
import jax.numpy as jnp
import numpy as np
from jax import lax

LANES, WORDS = 1024, 4
BLOCK = LANES * WORDS
"""Tokens that share calls: token `BLOCK * b + LANES * w + l` has word w of call LANES * b + l."""

_ROUNDS = 10
_MULTIPLIERS = np.uint32(0xD2511F53), np.uint32(0xCD9E8D57)
_KEY_STEPS = np.uint32(0x9E3779B9), np.uint32(0xBB67AE85)
_BELOW_ONE = np.float32(1 - 2**-24)


def block_times(seed, position, calls, *, is_unrolled=True):
    """Of each of a block's four parts, f32 of the calls' shape. Seeds and positions are i32."""
    zero = jnp.zeros_like(calls, jnp.uint32)
    counter = _unsigned(calls), zero, zero, zero
    key = _unsigned(seed), _unsigned(position)
    return [exponential(word) for word in philox(counter, key, is_unrolled=is_unrolled)]


def exponential(word):
    """A time of mean 1 from 32 bits: -log(1 - v), v uniform in (0, 1).

    Times that win are short, and come from small v, where floats lie close: so even of tokens that
    are drawn once in 2**32 times the likelihood is right. They lie in [2**-33, 16.7].
    """
    v = (word.astype(jnp.float32) + np.float32(0.5)) * np.float32(2**-32)
    return -jnp.log1p(-jnp.minimum(v, _BELOW_ONE))


def philox(counter, key, *, is_unrolled=True):
    """Four words, u32, from a counter of four and a key of two.

    In a Triton kernel the rounds are a loop, which the assembler unrolls: as hundreds of operations
    of Triton's, whose compiler takes time that grows with their square, they were a quarter of the
    1.6 s that the sampler took to compile. Elsewhere a loop would pass words through memory.
    """
    state = *counter, *key
    if is_unrolled:
        for _ in range(_ROUNDS):
            state = _mix(state)
    else:
        state = lax.fori_loop(0, _ROUNDS, lambda _, state: _mix(state), state)
    return state[:WORDS]


def _mix(state):
    """One round, and the key of the next."""
    a, b, c, d, first, second = state
    high_a, low_a = _product(a, _MULTIPLIERS[0])
    high_c, low_c = _product(c, _MULTIPLIERS[1])
    a, b, c, d = high_c ^ b ^ first, low_c, high_a ^ d ^ second, low_a
    return a, b, c, d, first + _KEY_STEPS[0], second + _KEY_STEPS[1]


def _product(x, constant):
    """The upper and the lower word of a product of two words."""
    with jax.enable_x64(True):
        wide = lax.convert_element_type(x, jnp.uint64) * np.uint64(constant)
        upper = lax.convert_element_type(wide >> np.uint64(32), jnp.uint32)
    return upper, x * constant


def _unsigned(x):
    return lax.bitcast_convert_type(x, jnp.uint32)
