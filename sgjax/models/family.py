"""What a model family is: how it reads config.json, its block, and its checkpoint table."""

import dataclasses
from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Literal

from sgjax.errors import ConfigError
from sgjax.kernels_pallas.activations import Activation
from sgjax.layers.query_scale import QueryScale
from sgjax.layers.rope import RopeConfig

if TYPE_CHECKING:
    from flax import nnx

    from sgjax.models.hf_config import HFConfig


Scoring = Literal["softmax", "sigmoid"]
GroupScore = Literal["max", "top2"]


@dataclasses.dataclass(frozen=True)
class MoEConfig:
    """Experts of a model, and how a token's are chosen: `sgjax/layers/routing.py` does it.

    Scores are `scoring` of the router's logits. The `top_k` experts of the highest scores are a
    token's, and their scores are what their results are weighed with.
    """

    num_experts: int  # E
    top_k: int
    d_expert: int  # X
    scoring: Scoring = "softmax"
    renormalise: bool = False
    """Whether a token's weights are divided by their sum. With softmax, this is the softmax of the
    chosen logits alone."""
    scale: float = 1.0
    """What weights are multiplied by at last."""
    selection_bias: bool = False
    """Whether a learnt number an expert is added to scores, for the choice only."""
    num_groups: int = 1
    """Groups of experts, equally many each, one after the other. A token's experts are of the
    `top_groups` groups that have the highest scores."""
    top_groups: int = 1
    group_score: GroupScore = "max"
    """A group's score: its highest, or the sum of its two highest."""
    logit_soft_cap: float | None = None
    """The router's logits become logit_soft_cap * tanh(logit / logit_soft_cap)."""
    router_bias: bool = False
    expert_bias: bool = False
    weighs_inputs: bool = False
    """Whether the weight is what an expert's input is multiplied by, and not its result: for one
    expert a token."""
    d_shared: int = 0
    """Width of the expert that all tokens have, beside those of their own. 0: there is none."""
    shared_gate: bool = False
    """Whether that expert's result is weighed by the sigmoid of a product with the token."""
    layers: tuple[bool, ...] = ()
    """Which layers have experts; the others are dense. Empty: all have."""

    def is_in(self, layer: int) -> bool:
        return self.layers[layer] if self.layers else True


NormKind = Literal["rms", "wide_rms", "layer", "biased_layer"]
"""RMSNorm, RMSNorm with a float32 scale, LayerNorm, LayerNorm with a bias."""


@dataclasses.dataclass(frozen=True)
class ClassifierHead:
    """What is between a classifier's vector and its scores: norm(activation(vector · dense))."""

    activation: Activation
    has_bias: bool = True
    has_norm: bool = False


@dataclasses.dataclass(frozen=True)
class Pooling:
    """How a model that gives a vector a text, and no next token, makes it of its hidden states."""

    of: Literal["last", "first", "mean"] = "last"
    """The last token's, the first's, or the mean of all."""
    is_normalised: bool = True
    """Whether the vector is divided by its length."""
    labels: tuple[str, ...] = ()
    """Of a classifier: the vector is a score for each."""
    head: ClassifierHead | None = None
    """Of a classifier. None: scores are products with the vector."""
    is_sglangs: bool = False
    """Whether it is a classifier as SGLang has it, whose scores have biases."""

    @property
    def needs_all_tokens(self) -> bool:
        """Whether a text must be computed in one step."""
        return self.of != "last"


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
    """A transformer's sizes. Capital letters are the axes of `sgjax/axes.py`."""

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
    chunks: tuple[int | None, ...] = ()
    """Tokens of the chunks that a text is cut into for each layer, whose tokens see their own chunk
    alone. None: it is not cut. Empty: None everywhere."""
    kv_repeat: int = 1
    """How many copies of each kv head the cache holds (tp beyond the number of kv heads)."""
    layer_ropes: tuple[RopeConfig | None, ...] = ()
    """The RoPE of each layer, None where positions are not told. Empty: `rope` everywhere."""
    query_scales: tuple[QueryScale | None, ...] = ()
    """What queries of each layer are multiplied by, after RoPE. Empty: None everywhere."""
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
    head_layer_norm: bool = False
    """Whether query and key heads have a LayerNorm each, before RoPE."""
    parallel_residual: bool = False
    """Whether attention and the feed-forward layer stand side by side, after one norm, in a family
    where they need not."""
    mla: MLAConfig | None = None
    """Attention is to latents: then `head_size` is what RoPE turns, and there is a kv head for each
    query head. None: it is to keys and values."""
    num_positions: int = 0
    """Rows of a table of learned positions, which are added to embeddings. 0: there is none."""
    first_position: int = 0
    """The row of a text's first token."""
    num_token_types: int = 0
    """Rows of a table of learned types of tokens, which are added to embeddings, too. Where there
    are several, a token of type t is given as its id + t * vocab_size."""
    has_embed_norm: bool = False
    """Whether embeddings are normed before the first layer."""
    has_final_norm: bool = True
    """Whether the last layer's sum is normed."""
    moe: MoEConfig | None = None
    """Experts, in the place of (some) dense feed-forward layers."""
    has_qk_norms: bool = False
    """Whether query and key heads are normed, in families where some models do so."""
    draft_layers: int = 0
    """Layers that a checkpoint has after the last, to predict more tokens; they are not read."""
    pooling: Pooling | None = None
    """None: it generates. What a family says here holds unless the checkpoint says otherwise."""
    is_causal: bool = True
    """Whether a token sees only those before it; else all of its text."""
    vocab_padding: int = 0
    """Rows that the embedding has beyond the vocabulary, so that devices can share it evenly."""

    @property
    def group_size(self) -> int:
        """G: query heads of one kv head."""
        return self.num_heads // self.num_kv_heads

    def window(self, layer: int) -> int | None:
        """The window of a layer, None where it leaves nothing of a request out."""
        window = self.windows[layer] if self.windows else None
        return None if window is None or window >= self.context_length else window

    def chunk(self, layer: int) -> int | None:
        """The chunk of a layer, None where it leaves nothing of a request out."""
        chunk = self.chunks[layer] if self.chunks else None
        return None if chunk is None or chunk >= self.context_length else chunk

    def sees_all(self, layer: int) -> bool:
        """Whether a layer's tokens see all that is before them."""
        return self.window(layer) is None and self.chunk(layer) is None

    def query_scale(self, layer: int) -> QueryScale | None:
        """What a layer's queries are multiplied by, None where that is 1 for all of a request."""
        scale = self.query_scales[layer] if self.query_scales else None
        return None if scale is None or scale.interval > self.context_length else scale

    @property
    def needs_whole_texts(self) -> bool:
        """Whether a text must be computed in one step, and nothing of it may be cached before."""
        is_split = self.pooling is not None and self.pooling.needs_all_tokens
        return is_split or not self.is_causal

    @property
    def num_outputs(self) -> int:
        """Numbers that the model gives for a token whose result is wanted."""
        if self.pooling is None:
            return self.vocab_size
        return len(self.pooling.labels) or self.d_model

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
        """The same model for requests of a given length (None: as the checkpoint says).

        Raises:
            ConfigError: where it is longer than the model was made for.
        """
        if length is None:
            length = self.context_length
        if not 1 <= length <= self.max_context_length:
            way_out = "" if self.num_positions else " rope_scaling in config.json can stretch it."
            raise ConfigError(
                f"--context-length {length} must be in [1, {self.max_context_length}]: on longer "
                f"texts than it was made for, this model fails.{way_out}"
            )
        return dataclasses.replace(
            self,
            context_length=length,
            rope=self.rope.serving(length),
            layer_ropes=tuple(rope and rope.serving(length) for rope in self.layer_ropes),
        )

    def for_tp(self, tp: int, *, ep: int = 1) -> "ModelConfig":
        """The same model with kv heads repeated until tp devices can share them: K' = max(K, tp).

        Of these, ep groups of devices have experts of their own.

        Raises:
            ConfigError: where tp does not divide the heads, the feed-forward width, or neither
                divides the kv heads nor is a multiple of them; where ep does not divide the
                experts, or the devices of a group cannot share one.
        """
        self._check_shared("num_attention_heads", self.num_heads, tp)
        for what, size in self._widths:
            self._check_shared(what, size, tp)
        self._check_experts(tp, ep)
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

    @property
    def _widths(self) -> "list[tuple[str, int]]":
        """Feed-forward widths that all devices share, by name."""
        if self.moe is None:
            return [("intermediate_size", self.d_ff)]
        is_dense = not all(self.moe.is_in(layer) for layer in range(self.num_layers))
        dense = [("intermediate_size", self.d_ff)] if is_dense else []
        return dense + ([("the shared expert's width", d)] if (d := self.moe.d_shared) else [])

    def _check_experts(self, tp: int, ep: int) -> None:
        if self.moe is None:
            if ep > 1:
                raise ConfigError(
                    f"--ep-size {ep} is for models with experts, and {self.architecture} has none."
                )
            return
        if self.moe.num_experts % ep:
            raise ConfigError(f"--ep-size {ep} does not divide {self.moe.num_experts} experts.")
        if self.moe.d_expert % (tp // ep):
            raise ConfigError(
                f"--tp-size {tp} with --ep-size {ep} has {tp // ep} devices share each expert, "
                f"which does not divide an expert's width = {self.moe.d_expert}."
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
            if not (
                self.num_heads % tp
                or any(size % tp for _, size in self._widths)
                or (kv % tp and tp % kv)
            )
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
    """Endings of tensors that checkpoints have and that say nothing: masks, buffers. One that ends
    with a dot is a beginning."""
    prefix: str = "model."
    """What names of tensors begin with in `weights`, and may lack in checkpoints of models that
    give vectors."""
    older_endings: "Mapping[str, str]" = dataclasses.field(default_factory=dict)
    """Ending of names in `weights` -> the one that older checkpoints have."""


Target = tuple[str, str]
"""(parameter path, rearrangement): `sgjax/weights/rules.py` says how they are written."""

Table = Mapping[str, Target | list[Target]]
"""Checkpoint name -> what its tensor fills; `{}` stands for the layer, `{e}` for the expert, `{n}`
for a number."""
