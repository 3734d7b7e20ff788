"""Seed-OSS: a Llama whose heads may be of any size, and whose queries, keys and values have biases.

https://huggingface.co/ByteDance-Seed/Seed-OSS-36B-Base
"""

from sgjax.models import llama
from sgjax.models.family import Family, ModelConfig
from sgjax.models.hf_config import HFConfig


def config(hf: HFConfig) -> ModelConfig:
    for key in ("num_key_value_heads", "head_dim"):
        hf(key)  # no default: transformers would take 8 and 128
    cfg = llama.read_sizes(
        hf,
        qkv_bias=hf.flag("attention_bias"),  # nor here: it would take true
        out_bias=hf.flag("attention_out_bias", False),
        mlp_bias=hf.flag("mlp_bias", False),
    )
    hf.finish()
    return cfg


FAMILY = Family(config=config, block=llama.Block, weights=llama.WEIGHTS)
