"""What absorbing buys: a layer's latent attention of decoding rows in three forms.

    python -m sgjax.bench.absorbed [--heads 16] [--rows 64] [--context 1024] [--small]

"absorbed": queries are compared with latents themselves, as `sgjax/layers/mla.py` does. "expanded":
keys and values of all heads are made of the latents of every row's context, in each step.
"cached": they were made once, and the cache holds them in place of latents. Microseconds of a
step of one layer, the numbers that the cache holds a token, and times as long as "absorbed" takes.
Sizes of a head and of latents are those of DeepSeek V2; 16 heads are V2-Lite's, 128 the others'.
https://arxiv.org/abs/2405.04434
"""

import argparse
import dataclasses
from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float

from sgjax.bench.kernels.timing import compiled, seconds_of
from sgjax.kernels_pallas.latent_attention import latent_attention
from sgjax.kernels_pallas.latent_attention.cases import Case, make_inputs
from sgjax.kernels_pallas.ragged_paged_attention import RaggedRows, ragged_paged_attention

LAYERS = 4
"""In one program, each with arrays of its own, so that none finds in a cache what another read."""
FORMS = ("absorbed", "expanded", "cached")
Layer = tuple[Any, ...]


@dataclasses.dataclass(frozen=True)
class Sizes:
    """U: numbers of a head's key that are not turned, as many as its values have; H: that are;
    A: of a latent's values."""

    U: int = 128
    H: int = 64
    A: int = 512


SMALL = Sizes(U=16, H=8, A=32)


@dataclasses.dataclass(frozen=True)
class Workload:
    """Decoding rows of one length, in pages of 16."""

    heads: int
    rows: int
    context: int
    sizes: Sizes

    @property
    def case(self) -> Case:
        sizes = self.sizes
        return Case(
            f"decode {self.rows} x {self.context}",
            (self.context,) * self.rows,
            heads=self.heads,
            value_size=sizes.A,
            turned=sizes.H,
        )

    @property
    def how(self) -> dict[str, Any]:
        scale = (self.sizes.U + self.sizes.H) ** -0.5
        return {"page_size": self.case.page_size, "scale": scale, "only_decode": True}

    def cached_numbers(self, form: str) -> int:
        """That the cache holds for a token, in one layer."""
        sizes = self.sizes
        if form == "cached":
            return self.heads * (2 * sizes.U + sizes.H)
        return sizes.A + sizes.H

    def layer(self, form: str, seed: int) -> Layer:
        """What a form is called with."""
        sizes, (first, second, third) = self.sizes, jax.random.split(jax.random.key(seed), 3)
        inputs, dtype = make_inputs(self.case, seed, jnp.bfloat16), jnp.bfloat16
        q = jax.random.normal(first, (self.rows, self.heads, sizes.U + sizes.H), dtype)
        up = (self.heads, sizes.U, sizes.A)
        key_up = jax.random.normal(second, up, dtype) * jnp.bfloat16(sizes.A**-0.5)
        value_up = jax.random.normal(third, up, dtype) * jnp.bfloat16(sizes.A**-0.5)
        cache = jnp.nan_to_num(inputs.latents)
        if form == "cached":
            return q, *self.expand(cache, key_up, value_up), inputs.rows
        return q, cache, key_up, value_up, inputs.rows

    def call(self, form: str) -> Callable[..., Float[Array, "T N J"]]:
        return {
            "absorbed": self._absorbed,
            "expanded": lambda q, latents, key_up, value_up, rows: self._plain(
                q, *self.expand(latents, key_up, value_up), rows
            ),
            "cached": self._plain,
        }[form]

    def expand(
        self,
        latents: Float[Array, "slots M"],
        key_up: Float[Array, "N U A"],
        value_up: Float[Array, "N J A"],
    ) -> tuple[Float[Array, "slots N UH"], Float[Array, "slots N UH"]]:
        """Keys and values of all heads; values are padded to the length of keys."""
        sizes = self.sizes
        values = jnp.einsum("SA,NJA->SNJ", latents[:, : sizes.A], value_up)
        keys = jnp.einsum("SA,NUA->SNU", latents[:, : sizes.A], key_up)
        turned = latents[:, None, sizes.A :]
        turned = jnp.broadcast_to(turned, (*keys.shape[:2], sizes.H))
        pad = ((0, 0), (0, 0), (0, sizes.H))
        return jnp.concatenate([keys, turned], axis=-1), jnp.pad(values, pad)

    def _absorbed(
        self,
        q: Float[Array, "T N UH"],
        latents: Float[Array, "slots M"],
        key_up: Float[Array, "N U A"],
        value_up: Float[Array, "N J A"],
        rows: RaggedRows,
    ) -> Float[Array, "T N J"]:
        at = self.sizes.U
        compared = jnp.einsum("TNU,NUA->TNA", q[..., :at], key_up)
        mean = latent_attention(
            jnp.concatenate([compared, q[..., at:]], axis=-1),
            latents,
            rows,
            value_size=self.sizes.A,
            **self.how,
        )
        return jnp.einsum("TNA,NJA->TNJ", mean, value_up)

    def _plain(
        self,
        q: Float[Array, "T N UH"],
        k: Float[Array, "slots N UH"],
        v: Float[Array, "slots N UH"],
        rows: RaggedRows,
    ) -> Float[Array, "T N J"]:
        mean = ragged_paged_attention(q[:, :, None], k, v, rows, **self.how)
        return mean[:, :, 0, : self.sizes.U]


def measure(workload: Workload, form: str) -> tuple[float, Float[Array, "T N J"]]:
    """Seconds of one layer, and what the first one gives."""
    call = jax.jit(workload.call(form))

    def program(*layers: Layer) -> list[Array]:
        return [call(*layer) for layer in layers]

    layers = tuple(workload.layer(form, seed) for seed in range(LAYERS))
    ready = compiled(program, layers)
    return seconds_of(ready, layers) / LAYERS, ready(*layers)[0]


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--heads", type=int, default=16)
    parser.add_argument("--rows", type=int, default=64)
    parser.add_argument("--context", type=int, default=1024)
    parser.add_argument("--small", action="store_true", help="sizes for any machine")
    options = parser.parse_args()
    sizes = SMALL if options.small else Sizes()
    workload = Workload(options.heads, options.rows, options.context, sizes)
    found = {form: measure(workload, form) for form in FORMS}
    best, expected = found["absorbed"]
    for form, (seconds, result) in found.items():
        error = float(jnp.abs(result - expected).max() / jnp.abs(expected).max())
        print(
            f"{form:9} {workload.cached_numbers(form):6} numbers a token {seconds * 1e6:9.1f} us, "
            f"{seconds / best:6.2f} x, differs by {error:.4f}",
            flush=True,
        )


if __name__ == "__main__":
    main()
