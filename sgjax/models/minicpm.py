"""MiniCPM: a Granite whose factors follow from the model's depth and width.

https://arxiv.org/abs/2404.06395
"""

from sgjax.models import granite, llama
from sgjax.models.family import Family, ModelConfig
from sgjax.models.hf_config import HFConfig


def config(hf: HFConfig) -> ModelConfig:
    bias = hf.flag("attention_bias", False)
    num_layers, d_model = hf.size("num_hidden_layers"), hf.size("hidden_size")
    hf.expect("num_experts", 0)  # MiniCPM-MoE has the same name
    hf.expect("mup_denominator", num_layers)
    cfg = llama.read_sizes(
        hf,
        embed_scale=hf.number("scale_emb"),
        logit_scale=hf.positive("dim_model_base") / d_model,
        out_bias=bias,
        qkv_bias=bias,
        residual_scale=hf.number("scale_depth") / num_layers**0.5,
        tie_embeddings=hf.flag("tie_word_embeddings", True),
    )
    hf.finish()
    return cfg


FAMILY = Family(config=config, block=granite.Block, weights=llama.WEIGHTS)
