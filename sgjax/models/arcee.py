"""AFM, by Arcee: a Llama whose feed-forward layer has no gate, and squares its ReLU.

https://huggingface.co/arcee-ai/AFM-4.5B
"""

from sgjax.models import llama, nemotron, starcoder2
from sgjax.models.family import Family, ModelConfig
from sgjax.models.hf_config import HFConfig


def config(hf: HFConfig) -> ModelConfig:
    bias = hf.flag("attention_bias", False)
    cfg = llama.read_sizes(
        hf,
        norm_eps=hf.number("rms_norm_eps"),  # no default: transformers would take 1e-5
        activation=hf.activation(),  # nor here: it would take relu2
        qkv_bias=bias,
        out_bias=bias,
        mlp_bias=hf.flag("mlp_bias", False),
    )
    hf.finish()
    return cfg


WEIGHTS = llama.WEIGHTS | nemotron.WITHOUT_A_GATE
FAMILY = Family(config=config, block=starcoder2.Block, weights=WEIGHTS)
