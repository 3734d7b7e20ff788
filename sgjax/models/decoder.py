"""The shell that all models share: embedding, a loop over blocks, the final norm, logits.

A model is split once, when it is loaded, into a graphdef (what it is: hashable, no arrays) and
params (nested dicts of arrays). A step is a plain function of these: `forward`.
"""

import dataclasses
import functools
from typing import Any

import jax
import jax.numpy as jnp
from flax import nnx
from jaxtyping import Array, Float

from sgjax.cache.kv_cache import LayerCache
from sgjax.layers.embed import Embed, LearnedVectors
from sgjax.layers.inputs import StepInputs
from sgjax.layers.norm import NoNorm
from sgjax.layers.pooler import Pooler
from sgjax.models.family import Family, ModelConfig
from sgjax.models.norms import norm_of
from sgjax.sharding.mesh import Placement
from sgjax.sharding.rules import constrain

Params = dict[str, Any]


class Decoder(nnx.Module):
    """A decoder-only transformer, or an encoder that gives vectors. Made abstract: `sgjax/weights`
    gives it values."""

    def __init__(self, family: Family, cfg: ModelConfig, placement: Placement):
        self.placement = placement
        self.embed = _embed(cfg)
        self.positions = _table(cfg.num_positions, cfg)
        self.token_types = _table(cfg.num_token_types, cfg)
        self.embed_norm = norm_of(cfg) if cfg.has_embed_norm else None
        self.blocks = nnx.List([family.block(cfg, layer) for layer in range(cfg.num_layers)])
        # Known once for good: to split blocks again takes a tenth of the time to trace a step.
        self.block_graphdefs = nnx.static(tuple(nnx.graphdef(block) for block in self.blocks))
        self.norm = norm_of(cfg) if cfg.has_final_norm else NoNorm()
        self.head = None if cfg.tie_embeddings else _embed(cfg)
        self.pooler = cfg.pooling and Pooler(cfg.pooling, cfg.d_model, norm_of(cfg))
        self.first_position = cfg.first_position
        self.embed_scale = cfg.embed_scale
        self.logit_scale = cfg.logit_scale
        self.logit_soft_cap = cfg.logit_soft_cap

    def __call__(
        self, blocks: dict[int, Params], kv: list[LayerCache], step: StepInputs
    ) -> tuple[Float[Array, "R V"], list[LayerCache]]:
        mesh = self.placement.mesh
        step = dataclasses.replace(step, placed=self.placement)
        x = constrain(self._embedded(step), "T D", mesh)
        h = constrain(jnp.zeros_like(x), "T D", mesh)
        wanted = step.logit_rows if self.pooler is None else self.pooler.tokens(step)
        new_kv = []
        for layer, (graphdef, layer_kv) in enumerate(zip(self.block_graphdefs, kv, strict=True)):
            if layer == len(kv) - 1 and wanted is not None and len(wanted) < len(x):
                step = dataclasses.replace(step, wanted=wanted)
            x, h, layer_kv = _run_block(graphdef, blocks[layer], x, h, layer_kv, step)
            new_kv.append(layer_kv)
        if wanted is not None and len(x) == len(step.tokens):  # the last block gives all
            x, h = x[wanted], h[wanted]
        if self.pooler is not None:
            return self.pooler(self.norm, x, h, step), new_kv
        head = self.embed if self.head is None else self.head
        return self._finished(head.logits_after(self.norm, x, h, self.placement)), new_kv

    def _embedded(self, step: StepInputs) -> Float[Array, "T D"]:
        tokens = step.tokens
        if self.token_types is not None:
            types, tokens = jnp.divmod(tokens, self.embed.vocab_size)
        x = self.embed(tokens, self.placement.mesh)
        if self.embed_scale != 1:
            x *= jnp.asarray(self.embed_scale, x.dtype)
        if self.positions is not None:
            x += self.positions(step.positions + self.first_position)
        if self.token_types is not None:
            x += self.token_types(types)
        return x if self.embed_norm is None else self.embed_norm(x)

    def _finished(self, logits: Float[Array, "R V"]) -> Float[Array, "R V"]:
        if self.logit_scale != 1:
            logits *= self.logit_scale
        if self.logit_soft_cap is not None:
            logits = self.logit_soft_cap * jnp.tanh(logits / self.logit_soft_cap)
        return logits


def build(family: Family, cfg: ModelConfig, placement: Placement) -> Decoder:
    """The model without values. `cfg` is `for_tp` of the mesh's size."""
    return Decoder(family, cfg, placement)


def forward(
    graphdef: nnx.GraphDef, params: Params, kv: list[LayerCache], step: StepInputs
) -> tuple[Float[Array, "R V"], list[LayerCache]]:
    """One step: logits where they are wanted (float32), and the cache with the step's tokens in it.
    Of a model that pools, what it makes of the texts of these tokens, in the place of logits.

    To be compiled by the caller, with `graphdef` bound and `kv` donated; params are an argument.
    """
    return nnx.merge(graphdef, params)(params["blocks"], kv, step)


def _embed(cfg: ModelConfig) -> Embed:
    return Embed(cfg.vocab_size, cfg.d_model, padding=cfg.vocab_padding)


def _table(num_rows: int, cfg: ModelConfig) -> LearnedVectors | None:
    return LearnedVectors(num_rows, cfg.d_model) if num_rows else None


@functools.partial(jax.jit, static_argnums=0)
def _run_block(
    graphdef: nnx.GraphDef, params: Params, x: Array, h: Array, kv: LayerCache, step: StepInputs
) -> tuple[Array, Array, LayerCache]:
    """A block as a function of its own: layers of one kind share one trace and one lowering.

    It takes the residual stream x and what is still to be added to it, and gives both: the sum is
    left to the norm that reads it next.
    """
    mesh = step.placement.mesh
    x, h, kv = nnx.merge(graphdef, params)(x, h, kv, step)
    return constrain(x, "T D", mesh), constrain(h, "T D", mesh), kv
