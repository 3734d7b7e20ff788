"""ERNIE 4.5 (dense): a Llama that rotates neighbouring features of a head together.

https://huggingface.co/baidu/ERNIE-4.5-0.3B-PT
"""

from sgjax.models import llama
from sgjax.models.family import Family, ModelConfig
from sgjax.models.hf_config import HFConfig
from sgjax.models.hf_rope import read_rope


def config(hf: HFConfig) -> ModelConfig:
    for key in ("num_key_value_heads", "head_dim", "rms_norm_eps"):
        hf(key)  # no default: transformers would take those of the model of 0.3B
    bias = hf.flag("use_bias", False)
    cfg = llama.read_sizes(
        hf,
        rope=read_rope(hf, theta=500000.0),
        qkv_bias=bias,
        out_bias=bias,
        mlp_bias=bias,
        tie_embeddings=hf.flag("tie_word_embeddings", True),
    )
    hf.finish()
    return cfg


FAMILY = Family(config=config, block=llama.Block, weights=llama.with_pairs(llama.WEIGHTS))
