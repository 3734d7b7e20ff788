"""Rows to draw tokens for, and what float64 says of them."""

import jax.numpy as jnp
import numpy as np

from sgjax.kernels_pallas.draw_tokens import Draws

NEUTRAL = {
    "top_k": -1,
    "temperature": 1.0,
    "top_p": 1.0,
    "min_p": 0.0,
    "frequency_penalty": 0.0,
    "presence_penalty": 0.0,
    "repetition_penalty": 1.0,
}
INTEGERS = ("slots", "seeds", "positions", "top_k")


def draws_of(num_rows, **given):
    """Row i has slot i, seed 3 and position i; the rest changes nothing. Values may be of all rows
    or one for each."""
    values = {"slots": np.arange(num_rows), "seeds": 3, "positions": np.arange(num_rows)}
    values |= NEUTRAL | given
    return Draws(
        **{
            name: jnp.asarray(
                np.broadcast_to(value, num_rows),
                jnp.int32 if name in INTEGERS else jnp.float32,
            )
            for name, value in values.items()
        }
    )


def candidates(logits, *, temperature=1.0, top_k=-1, top_p=1.0, min_p=0.0, within=1e-5):
    """(tokens that must be candidates, tokens that may be), bool[V] each: they differ where a sum
    of shares or a likelihood is `within` rounding of its limit. Depths are of float32, which is
    where close logits become equals; all else is in float64."""
    logits = np.asarray(logits, np.float32)
    depths = (logits.max() - logits) * (np.float32(1) / np.float32(temperature))
    likelihoods = np.exp(-depths.astype(np.float64))
    shares = likelihoods / likelihoods.sum()
    order = np.argsort(depths, kind="stable")
    is_first = np.append(True, depths[order][1:] > depths[order][:-1])  # of its equals
    first = np.maximum.accumulate(np.where(is_first, np.arange(len(order)), 0))
    count, share = np.empty(len(order)), np.empty(len(order))
    count[order] = first
    share[order] = np.append(0, np.cumsum(shares[order]))[first]

    def are_in(slack):
        by_share = share < top_p + slack if top_p < 1 else True
        by_count = count < top_k if top_k > 0 else True
        return by_count & by_share & (likelihoods >= min_p * (1 - slack)) | (count == 0)

    return are_in(-within), are_in(within)
