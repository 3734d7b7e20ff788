"""Mistral 7B and NeMo: a Llama whose heads may be of any size, and whose layers may have a window.

https://arxiv.org/abs/2310.06825
"""

from sgjax.models import llama
from sgjax.models.family import Family, ModelConfig
from sgjax.models.hf_config import HFConfig


def config(hf: HFConfig) -> ModelConfig:
    hf("num_key_value_heads")  # no default: transformers would take 8
    window = hf.size("sliding_window", None)
    cfg = llama.read_sizes(hf, windows=(window,) * hf.size("num_hidden_layers"))
    hf.finish()
    return cfg


FAMILY = Family(config=config, block=llama.Block, weights=llama.WEIGHTS)
