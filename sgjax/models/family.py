"""What a model family is: how it reads config.json, its block, and its checkpoint table."""

import dataclasses
from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from flax import nnx

    from sgjax.models.hf_config import HFConfig


@dataclasses.dataclass(frozen=True)
class RopeConfig:
    """Rotary embedding: theta and the scaling of its frequencies (`kind` is HF's rope_type)."""

    theta: float = 10000.0
    kind: str = "default"
    params: tuple[tuple[str, Any], ...] = ()
    """The scaling's own numbers (factor, low_freq_factor, …), sorted by name."""

    def param(self, name: str, default: Any = None) -> Any:
        return dict(self.params).get(name, default)


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
    norm_eps: float
    rope: RopeConfig = RopeConfig()
    tie_embeddings: bool = False
    qkv_bias: bool = False
    out_bias: bool = False
    mlp_bias: bool = False
    windows: tuple[int | None, ...] = ()
    """Sliding window of each layer, or None: all tokens. Empty: None everywhere."""
    kv_repeat: int = 1
    """How many copies of each kv head the cache holds (tp beyond the number of kv heads)."""

    @property
    def group_size(self) -> int:
        """G: query heads of one kv head."""
        return self.num_heads // self.num_kv_heads

    def window(self, layer: int) -> int | None:
        return self.windows[layer] if self.windows else None

    def for_tp(self, tp: int) -> "ModelConfig":
        """The same model with kv heads repeated until tp devices can share them: K' = max(K, tp).

        Raises:
            ConfigError: where tp does not divide the heads, the feed-forward width, or (beyond the
                kv heads) is not a multiple of them.
        """
        raise NotImplementedError


@dataclasses.dataclass(frozen=True)
class Family:
    """A family of models: three things, each written out in the family's own file."""

    config: "Callable[[HFConfig], ModelConfig]"
    block: "Callable[[ModelConfig, int], nnx.Module]"
    """block(cfg, layer): a module with `__call__(x, kv, step) -> (x, kv)`."""
    weights: Mapping[str, tuple[str, str]]
    """Checkpoint name (`{}` stands for the layer) -> (parameter path, rearrangement)."""
