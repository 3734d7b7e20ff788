"""Two kernels: `propose` draws from all tokens, `settle` sees to it that it is a candidate.

`propose` reads the logits once, in a program for each block of each row, and most rows end there:
those without top-k and top-p. A program of `settle` puts together what a row's blocks found, and
reads the row again where it must (`triton_settle.py`).
"""

import jax
import jax.numpy as jnp
from jax import lax
from jax.experimental import pallas as pl
from jax.experimental.pallas import triton as plgpu

from sgjax.kernels_pallas.draw_tokens import reference
from sgjax.kernels_pallas.draw_tokens.chance import BLOCK, LANES
from sgjax.kernels_pallas.draw_tokens.rules import likelihood, rules_of
from sgjax.kernels_pallas.draw_tokens.triton_row import Row, earliest, lanewise, level_of, pack
from sgjax.kernels_pallas.draw_tokens.triton_settle import settle

_FINDINGS = 3
"""Of a block: its largest logit, the sum of likelihoods, and the first arrival."""
_PROPOSE_WARPS, _SETTLE_WARPS = 8, 16
"""A block is for many programs a multiprocessor; a whole row is often for one."""
_PROPOSE_WORDS = 1
"""With all in one matrix a program takes 60 registers rather than 48, and compiles no faster."""
_MOST_ENTRIES = 2**31 - 1
"""Of an array: Triton kernels count them in 32 bits."""


def draw_tokens(logits, seen, draws, *, interpret=False):
    """The contract. `interpret` runs the kernels in Pallas's interpreter, on any platform."""
    if max(logits.size, seen.size) > _MOST_ENTRIES:
        return reference.draw_tokens(logits, seen, draws)
    R, V = logits.shape
    rules = pack(rules_of(draws))
    num_blocks = -(-V // BLOCK)
    found, tokens = pl.pallas_call(
        _propose,
        grid=(R, num_blocks),
        out_shape=(
            jax.ShapeDtypeStruct((_FINDINGS, R, num_blocks), jnp.float32),
            jax.ShapeDtypeStruct((R, num_blocks), jnp.int32),
        ),
        interpret=interpret,
        compiler_params=plgpu.CompilerParams(num_warps=_PROPOSE_WARPS, num_stages=1),
        name="draw_tokens_propose",
    )(logits, seen, rules)
    return pl.pallas_call(
        settle,
        grid=(R,),
        out_shape=jax.ShapeDtypeStruct((R,), jnp.int32),
        interpret=interpret,
        compiler_params=plgpu.CompilerParams(num_warps=_SETTLE_WARPS, num_stages=1),
        name="draw_tokens_settle",
    )(logits, seen, rules, found, tokens)


def _propose(logits_ref, seen_ref, rules_ref, found_ref, tokens_ref):
    # logits: f32[R, V]   seen: i16[slots, V]   rules: i32[fields, R]
    # found: f32[3, R, blocks]   tokens: i32[R, blocks]
    index, number = pl.program_id(0), pl.program_id(1)
    row = Row.of(logits_ref, seen_ref, rules_ref, index, lanes=LANES, words=_PROPOSE_WORDS)
    tokens = row.tokens(number)
    logits = row.logits(tokens, number)
    largest = jnp.max(lanewise(jnp.maximum, logits))
    depths = row.depths(level_of(largest), logits)
    found_ref[0, index, number] = largest
    found_ref[1, index, number] = jnp.sum(lanewise(jnp.add, [likelihood(d) for d in depths]))
    # Without chance it is the depth that counts.
    times = lax.cond(row.rules.is_random > 0, lambda: row.arrivals(number, depths), lambda: depths)
    time, token = earliest(times, tokens)
    found_ref[2, index, number] = time
    tokens_ref[index, number] = token
