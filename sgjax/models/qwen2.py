"""Qwen2 and 2.5 (dense): a Llama with biases on q, k and v. https://arxiv.org/abs/2407.10671"""

from sgjax.models import llama
from sgjax.models.family import Family, ModelConfig
from sgjax.models.hf_config import HFConfig


def config(hf: HFConfig) -> ModelConfig:
    hf("num_key_value_heads")  # no default: transformers would take 32
    hf.expect("use_mrope", False)
    cfg = llama.read_sizes(hf, qkv_bias=True, windows=hf.windows())
    hf.finish()
    return cfg


FAMILY = Family(config=config, block=llama.Block, weights=llama.WEIGHTS)
