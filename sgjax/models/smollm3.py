"""SmolLM3: a Llama that does not rotate in every fourth layer.

https://huggingface.co/HuggingFaceTB/SmolLM3-3B
"""

from sgjax.models import llama
from sgjax.models.family import Family, ModelConfig
from sgjax.models.hf_config import HFConfig
from sgjax.models.hf_rope import read_rope


def config(hf: HFConfig) -> ModelConfig:
    hf("num_key_value_heads")  # no default: transformers would take 4
    if hf("rope_parameters", None) is None:
        hf("rope_theta")  # nor here: it would take 2e6
    hf.expect("use_sliding_window", False)
    bias, rope = hf.flag("attention_bias", False), read_rope(hf)
    cfg = llama.read_sizes(
        hf,
        rope=rope,
        layer_ropes=tuple(rope if turns else None for turns in _turning_layers(hf)),
        windows=hf.windows(),
        tie_embeddings=hf.flag("tie_word_embeddings", True),
        qkv_bias=bias,
        out_bias=bias,
        mlp_bias=hf.flag("mlp_bias", False),
    )
    hf.finish()
    return cfg


def _turning_layers(hf: HFConfig) -> list[bool]:
    """Whether each layer rotates: as no_rope_layers says (with 1, for all its name), else all but
    every no_rope_layer_interval-th."""
    num_layers, interval = hf.size("num_hidden_layers"), hf.size("no_rope_layer_interval", 4)
    given = hf("no_rope_layers", None)
    if given is None:
        return [(layer + 1) % interval != 0 for layer in range(num_layers)]
    if len(given) != num_layers or not set(given) <= {0, 1}:
        raise hf.error("no_rope_layers", f"must have 0 or 1 for each of the {num_layers} layers")
    return [bool(turns) for turns in given]


FAMILY = Family(config=config, block=llama.Block, weights=llama.WEIGHTS)
