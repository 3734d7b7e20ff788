"""Families that transformers computes under another name: InternLM2, ChatGLM, EXAONE 3, Qwen 1."""

from typing import Any

from transformers import GlmConfig, LlamaConfig, Qwen2Config

from tests.models.cases import PLAIN, case, rope
from tests.models.cases.glm import HALF_HEADS, WHOLE_HEADS
from tests.models.cases.llama import LLAMA3
from tests.models.publishing import Packed, by_kv_head, end_to_end, publish

ATTN, MLP = "model.layers.{}.self_attn", "model.layers.{}.mlp"
QKV = tuple(f"{ATTN}.{part}_proj.weight" for part in "qkv")
QKV_BIASES = tuple(f"{ATTN}.{part}_proj.bias" for part in "qkv")
INPUT_NORM = "model.layers.{}.input_layernorm.weight"
MLP_NORM = "model.layers.{}.post_attention_layernorm.weight"


def shared(config: dict[str, Any], *keys: str) -> dict[str, Any]:
    """What config.json of the family says by the same names."""
    names = ("hidden_size", "num_attention_heads", "tie_word_embeddings", *keys)
    return {key: config[key] for key in names}


def internlm2_config(config: dict[str, Any]) -> dict[str, Any]:
    keys = ("hidden_act", "intermediate_size", "num_hidden_layers", "num_key_value_heads")
    more = ("max_position_embeddings", "rms_norm_eps", "vocab_size")
    return shared(config, *keys, *more) | {
        "architectures": ["InternLM2ForCausalLM"],
        "bias": config["attention_bias"],
        "rope_scaling": {"type": "dynamic", "factor": 2.0},
        "rope_theta": config["rope_parameters"]["rope_theta"],
    }


INTERNLM2 = publish(
    internlm2_config,
    {
        "model.tok_embeddings.weight": "model.embed_tokens.weight",
        "model.norm.weight": "model.norm.weight",
        "output.weight": "lm_head.weight",
        "model.layers.{}.attention_norm.weight": INPUT_NORM,
        "model.layers.{}.ffn_norm.weight": MLP_NORM,
        "model.layers.{}.attention.wqkv.weight": Packed(QKV, by_kv_head),
        "model.layers.{}.attention.wqkv.bias": Packed(QKV_BIASES, by_kv_head),
        "model.layers.{}.attention.wo.weight": f"{ATTN}.o_proj.weight",
        "model.layers.{}.attention.wo.bias": f"{ATTN}.o_proj.bias",
        "model.layers.{}.feed_forward.w1.weight": f"{MLP}.gate_proj.weight",
        "model.layers.{}.feed_forward.w2.weight": f"{MLP}.down_proj.weight",
        "model.layers.{}.feed_forward.w3.weight": f"{MLP}.up_proj.weight",
    },
)


def chatglm_config(config: dict[str, Any]) -> dict[str, Any]:
    return shared(config) | {
        "add_bias_linear": False,
        "add_qkv_bias": config["attention_bias"],
        "architectures": ["ChatGLMForConditionalGeneration"],
        "ffn_hidden_size": config["intermediate_size"],
        "kv_channels": config["head_dim"],
        "layernorm_epsilon": config["rms_norm_eps"],
        "multi_query_attention": True,
        "multi_query_group_num": config["num_key_value_heads"],
        "num_layers": config["num_hidden_layers"],
        "padded_vocab_size": config["vocab_size"],
        "rope_ratio": config["rope_parameters"]["rope_theta"] / 1e4,
        "seq_length": config["max_position_embeddings"],
    }


CHATGLM_LAYER = "transformer.encoder.layers.{}"
CHATGLM = publish(
    chatglm_config,
    {
        "transformer.embedding.word_embeddings.weight": "model.embed_tokens.weight",
        "transformer.encoder.final_layernorm.weight": "model.norm.weight",
        "transformer.output_layer.weight": "lm_head.weight",
        f"{CHATGLM_LAYER}.input_layernorm.weight": INPUT_NORM,
        f"{CHATGLM_LAYER}.post_attention_layernorm.weight": MLP_NORM,
        f"{CHATGLM_LAYER}.self_attention.query_key_value.weight": Packed(QKV, end_to_end),
        f"{CHATGLM_LAYER}.self_attention.query_key_value.bias": Packed(QKV_BIASES, end_to_end),
        f"{CHATGLM_LAYER}.self_attention.dense.weight": f"{ATTN}.o_proj.weight",
        f"{CHATGLM_LAYER}.mlp.dense_h_to_4h.weight": f"{MLP}.gate_up_proj.weight",
        f"{CHATGLM_LAYER}.mlp.dense_4h_to_h.weight": f"{MLP}.down_proj.weight",
    },
)


def exaone_config(config: dict[str, Any]) -> dict[str, Any]:
    keys = ("head_dim", "intermediate_size", "max_position_embeddings", "num_key_value_heads")
    scaling = dict(config["rope_parameters"])
    return shared(config, *keys, "vocab_size") | {
        "activation_function": config["hidden_act"],
        "architectures": ["ExaoneForCausalLM"],
        "layer_norm_epsilon": config["rms_norm_eps"],
        "num_layers": config["num_hidden_layers"],
        "rope_theta": scaling.pop("rope_theta"),
        "rope_scaling": scaling,
    }


EXAONE = publish(
    exaone_config,
    {
        "transformer.wte.weight": "model.embed_tokens.weight",
        "transformer.ln_f.weight": "model.norm.weight",
        "lm_head.weight": "lm_head.weight",
        "transformer.h.{}.ln_1.weight": INPUT_NORM,
        "transformer.h.{}.ln_2.weight": MLP_NORM,
        **{
            f"transformer.h.{{}}.attn.attention.{part}_proj.weight": f"{ATTN}.{part}_proj.weight"
            for part in "qkv"
        },
        "transformer.h.{}.attn.attention.out_proj.weight": f"{ATTN}.o_proj.weight",
        "transformer.h.{}.mlp.c_fc_0.weight": f"{MLP}.gate_proj.weight",
        "transformer.h.{}.mlp.c_fc_1.weight": f"{MLP}.up_proj.weight",
        "transformer.h.{}.mlp.c_proj.weight": f"{MLP}.down_proj.weight",
    },
)


def qwen_config(config: dict[str, Any]) -> dict[str, Any]:
    return shared(config, "num_hidden_layers", "vocab_size") | {
        "architectures": ["QWenLMHeadModel"],
        "intermediate_size": 2 * config["intermediate_size"],
        "kv_channels": config["head_dim"],
        "layer_norm_epsilon": config["rms_norm_eps"],
        "rotary_emb_base": config["rope_parameters"]["rope_theta"],
        "seq_length": config["max_position_embeddings"],
        "use_dynamic_ntk": True,
        "use_logn_attn": True,
    }


QWEN = publish(
    qwen_config,
    {
        "transformer.wte.weight": "model.embed_tokens.weight",
        "transformer.ln_f.weight": "model.norm.weight",
        "lm_head.weight": "lm_head.weight",
        "transformer.h.{}.ln_1.weight": INPUT_NORM,
        "transformer.h.{}.ln_2.weight": MLP_NORM,
        "transformer.h.{}.attn.c_attn.weight": Packed(QKV, end_to_end),
        "transformer.h.{}.attn.c_attn.bias": Packed(QKV_BIASES, end_to_end),
        "transformer.h.{}.attn.c_proj.weight": f"{ATTN}.o_proj.weight",
        "transformer.h.{}.mlp.w1.weight": f"{MLP}.up_proj.weight",
        "transformer.h.{}.mlp.w2.weight": f"{MLP}.gate_proj.weight",
        "transformer.h.{}.mlp.c_proj.weight": f"{MLP}.down_proj.weight",
    },
)

CASES = {
    "internlm2": case(LlamaConfig, PLAIN, INTERNLM2, theta=rope("default", 1e4)),
    "internlm2 with one kv head": case(
        LlamaConfig,
        {"num_key_value_heads": 1, "attention_bias": True},
        INTERNLM2,
        bias={"attention_bias": False},
    ),
    "chatglm": case(
        GlmConfig,
        HALF_HEADS,
        CHATGLM,
        part=WHOLE_HEADS,
        ratio=rope("default", 1e4, partial_rotary_factor=0.5),
        bias={"attention_bias": False},
    ),
    "chatglm with one kv head": case(GlmConfig, HALF_HEADS | {"num_key_value_heads": 1}, CHATGLM),
    "exaone": case(LlamaConfig, LLAMA3, EXAONE, scaling=PLAIN),
    "qwen": case(
        Qwen2Config,
        PLAIN | {"num_key_value_heads": 4},
        QWEN,
        theta=rope("default", 1e4),
        bias=(LlamaConfig, {}),
    ),
}
