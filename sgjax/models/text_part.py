"""The text part of models that read images too: config.json says it under `text_config`.

Its tensors have the names of the model for texts alone, behind `language_model.`.
"""

from collections.abc import Mapping
from typing import Any

from sgjax.models.hf_config import HFConfig

PREFIX = "language_model."
OF_IMAGES = ("vision_tower.", "vision_model.", "multi_modal_projector.")
"""What the names of all other tensors begin with."""

_KEYS_OF_IMAGES = (
    "boi_token_index",
    "eoi_token_index",
    "image_token_index",
    "mm_tokens_per_image",
    "vision_config",
)
_GEMMA_3 = {
    "head_dim": 256,
    "max_position_embeddings": 131072,
    "num_attention_heads": 8,
    "num_key_value_heads": 4,
    "query_pre_attn_scalar": 256,
    "rms_norm_eps": 1e-6,
    "vocab_size": 262208,
}
"""What Gemma 3's config.json leaves to transformers' Gemma3TextConfig."""
_DEFAULTS: Mapping[str, Mapping[str, Any]] = {
    "Gemma3ForConditionalGeneration": _GEMMA_3,
    "Llama4ForConditionalGeneration": {},
}


def text_part(hf: HFConfig) -> HFConfig:
    """Of such a model; any other's config.json as it is.

    Raises:
        ConfigError: where there is no text part, or keys beside it are not known.
    """
    if hf.architecture not in _DEFAULTS:
        return hf
    for key in _KEYS_OF_IMAGES:
        hf(key, None)
    tied = {"tie_word_embeddings": hf("tie_word_embeddings", None)}
    part = hf.inside("text_config", {**_DEFAULTS[hf.architecture], **tied})
    hf.finish()
    return part
