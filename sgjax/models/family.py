"""What a model family is: how it reads config.json, its block, and its checkpoint table."""

import dataclasses
from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Literal

from sgjax.errors import ConfigError
from sgjax.kernels_pallas.activations import Activation
from sgjax.layers.rope import RopeConfig

if TYPE_CHECKING:
    from flax import nnx

    from sgjax.models.hf_config import HFConfig


NormKind = Literal["rms", "wide_rms", "layer", "biased_layer"]
"""RMSNorm, RMSNorm with a float32 scale, LayerNorm, LayerNorm with a bias."""


@dataclasses.dataclass(frozen=True)
class MLAConfig:
    """What keys and values are compressed to, and what heads are made of it (latent attention).

    A head has U features that have no position and H that RoPE turns; keys share the latter.
    """

    kv_latent: int  # A
    q_latent: int | None  # Q; None: queries are made of the stream itself
    num_unturned: int  # U
    value_size: int  # J


@dataclasses.dataclass(frozen=True)
class ModelConfig:
    """A decoder's sizes. Capital letters are the axes of `sgjax/axes.py`."""

    architecture: str
    vocab_size: int  # V
    num_layers: int  # L
    d_model: int  # D
    d_ff: int  # F
    num_heads: int  # N
    num_kv_heads: int  # K, of the checkpoint; `for_tp` makes it K'
    head_size: int  # H
    context_length: int
    """Tokens of a request, prompt and output."""
    norm_eps: float
    rope: RopeConfig
    tie_embeddings: bool = False
    norm: NormKind = "rms"
    activation: Activation = "silu"
    qkv_bias: bool = False
    out_bias: bool = False
    mlp_bias: bool = False
    windows: tuple[int | None, ...] = ()
    """Sliding window of each layer, or None: all tokens. Empty: None everywhere."""
    kv_repeat: int = 1
    """How many copies of each kv head the cache holds (tp beyond the number of kv heads)."""
    layer_ropes: tuple[RopeConfig | None, ...] = ()
    """The RoPE of each layer, None where positions are not told. Empty: `rope` everywhere."""
    attn_scale: float | None = None
    """What products of queries and keys are multiplied by. None: H ** -0.5."""
    attn_soft_cap: float | None = None
    """Scores become attn_soft_cap * tanh(score / attn_soft_cap)."""
    qkv_clip: float | None = None
    """Queries, keys and values are held within [-qkv_clip, qkv_clip]."""
    embed_scale: float = 1.0
    """What embeddings are multiplied by, rounded to the model's dtype."""
    residual_scale: float = 1.0
    """What a layer's result is multiplied by before it is added to the stream."""
    logit_scale: float = 1.0
    logit_soft_cap: float | None = None
    """Logits, scaled, become logit_soft_cap * tanh(logit / logit_soft_cap)."""
    mla: MLAConfig | None = None
    """Attention is to latents: then `head_size` is what RoPE turns, and there is a kv head for each
    query head. None: it is to keys and values."""
    num_positions: int = 0
    """Rows of a table of learned positions, which are added to embeddings. 0: there is none."""
    vocab_padding: int = 0
    """Rows that the embedding has beyond the vocabulary, so that devices can share it evenly."""

    @property
    def group_size(self) -> int:
        """G: query heads of one kv head."""
        return self.num_heads // self.num_kv_heads

    def window(self, layer: int) -> int | None:
        return self.windows[layer] if self.windows else None

    def layer_rope(self, layer: int) -> RopeConfig | None:
        return self.layer_ropes[layer] if self.layer_ropes else self.rope

    @property
    def max_context_length(self) -> int:
        """How far positions may be stretched: YaRN's factor counts from the original context."""
        if self.rope.kind != "yarn":
            return self.context_length
        original = self.rope.param("original_max_position_embeddings")
        return max(self.context_length, int(original * self.rope.param("factor")))

    def with_context_length(self, length: int | None) -> "ModelConfig":
        """The same model for requests of another length (None: as the checkpoint says).

        Raises:
            ConfigError: where it is longer than the model was made for.
        """
        if length is None:
            return self
        if not 1 <= length <= self.max_context_length:
            raise ConfigError(
                f"--context-length {length} must be in [1, {self.max_context_length}]: on longer "
                "texts than it was made for, this model fails. rope_scaling in config.json can "
                "stretch it."
            )
        rope = self.rope.serving(length)
        return dataclasses.replace(self, context_length=length, rope=rope)

    def for_tp(self, tp: int) -> "ModelConfig":
        """The same model with kv heads repeated until tp devices can share them: K' = max(K, tp).

        Raises:
            ConfigError: where tp does not divide the heads, the feed-forward width, or neither
                divides the kv heads nor is a multiple of them.
        """
        self._check_shared("num_attention_heads", self.num_heads, tp)
        self._check_shared("intermediate_size", self.d_ff, tp)
        heads = max(self.num_kv_heads, tp)
        if heads % self.num_kv_heads or heads % tp:
            raise ConfigError(
                f"--tp-size {tp} does not fit num_key_value_heads = {self.num_kv_heads}: one must "
                f"divide the other. {self._possible_tp()}"
            )
        return dataclasses.replace(
            self,
            num_kv_heads=heads,
            kv_repeat=heads // self.num_kv_heads,
            vocab_padding=-self.vocab_size % tp,
        )

    def _check_shared(self, key: str, size: int, tp: int) -> None:
        if size % tp:
            raise ConfigError(
                f"--tp-size {tp} does not divide {key} = {size}. {self._possible_tp()}"
            )

    def _possible_tp(self) -> str:
        kv = self.num_kv_heads
        sizes = [
            str(tp)
            for tp in range(1, 65)
            if not (self.num_heads % tp or self.d_ff % tp or (kv % tp and tp % kv))
        ]
        return f"This model can be served with --tp-size {', '.join(sizes)}."


@dataclasses.dataclass(frozen=True)
class Family:
    """A family of models: three things, each written out in the family's own file."""

    config: "Callable[[HFConfig], ModelConfig]"
    block: "Callable[[ModelConfig, int], nnx.Module]"
    """block(cfg, layer): a module with `__call__(x, kv, step) -> (x, kv)`."""
    weights: "Table"
    ignored: tuple[str, ...] = ()
    """Endings of tensors that checkpoints have and that say nothing: masks, buffers."""


Target = tuple[str, str]
"""(parameter path, rearrangement): `sgjax/weights/rules.py` says how they are written."""

Table = Mapping[str, Target | list[Target]]
"""Checkpoint name (`{}` stands for the layer) -> what its tensor fills."""
