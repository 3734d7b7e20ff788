"""A token for every row of logits, by its request's sampling parameters: the contract."""

from typing import NamedTuple

from jaxtyping import Array, Float, Int16, Int32

from sgjax.kernels_pallas.dispatch import implementation_of


class Draws(NamedTuple):
    """How each row's token is drawn: what `SamplingParams` says, and where its chance is from."""

    slots: Int32[Array, "R"]
    """Whose history penalties go by; past the end: nobody's."""
    seeds: Int32[Array, "R"]
    positions: Int32[Array, "R"]
    top_k: Int32[Array, "R"]
    """At least 1; below 0: all."""
    temperature: Float[Array, "R"]
    top_p: Float[Array, "R"]
    min_p: Float[Array, "R"]
    frequency_penalty: Float[Array, "R"]
    presence_penalty: Float[Array, "R"]
    repetition_penalty: Float[Array, "R"]


def draw_tokens(
    logits: Float[Array, "R V"],
    seen: Int16[Array, "slots V"],
    draws: Draws,
    *,
    implementation: str | None = None,
) -> Int32[Array, "R"]:
    """The tokens; -1 where a row of logits holds NaN, or has no largest finite value.

    `seen` holds per slot and token twice the count in a request's output, plus one if it stands in
    its prompt. Penalties act first. A token's depth is then how far it is below the largest logit,
    over the temperature: its probability is exp(-depth), over the sum of all. With those that are
    less deep counted and summed up, it is a candidate where they are fewer than `top_k` and their
    share is below `top_p` (which 1 always is), and where exp(-depth) reaches `min_p`. So equals are
    candidates together, and the likeliest always are. Of the candidates one is drawn by a race:
    each has a random time of mean exp(depth), and the shortest is drawn; this is the Gumbel-max
    trick without its logarithm. Below GREEDY_BELOW the first of the likeliest is drawn.

    Chance depends on seed, position and token alone (`chance.py`), so a row's token is the same in
    any batch. Implementations draw the same token, but for what rounding decides: whether a token
    is a candidate when the share of those less deep comes within some 1e-6 of `top_p`, and which of
    two is drawn whose times are as close to each other.
    """
    module = implementation_of(__name__, implementation)
    return module.draw_tokens(logits, seen, draws)
