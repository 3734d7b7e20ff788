"""Writes the trained parameters as a Hugging Face checkpoint of LlamaForCausalLM."""

import json
from pathlib import Path

import jax.numpy as jnp
import numpy as np
from safetensors.numpy import save_file
from tokenizers import Tokenizer

from sgjax.demo.model import ModelSize, Params
from sgjax.demo.tokenizer import BOS, CHAT_TEMPLATE, END, EOS, PAD, SPECIAL

LAYER_NAMES = {
    "attn_norm": "input_layernorm",
    "mlp_norm": "post_attention_layernorm",
    "q": "self_attn.q_proj",
    "k": "self_attn.k_proj",
    "v": "self_attn.v_proj",
    "o": "self_attn.o_proj",
    "gate": "mlp.gate_proj",
    "up": "mlp.up_proj",
    "down": "mlp.down_proj",
}


def config(size: ModelSize) -> dict[str, object]:
    return {
        "architectures": ["LlamaForCausalLM"],
        "model_type": "llama",
        "vocab_size": size.vocab_size,
        "hidden_size": size.hidden_size,
        "intermediate_size": size.ffn_size,
        "num_hidden_layers": size.num_layers,
        "num_attention_heads": size.num_heads,
        "num_key_value_heads": size.num_kv_heads,
        "head_dim": size.head_size,
        "hidden_act": "silu",
        "max_position_embeddings": size.max_positions,
        "rope_theta": size.rope_theta,
        "rope_scaling": None,
        "rms_norm_eps": size.norm_eps,
        "attention_bias": False,
        "attention_dropout": 0.0,
        "mlp_bias": False,
        "initializer_range": 0.02,
        "tie_word_embeddings": True,
        "use_cache": True,
        "bos_token_id": BOS,
        "eos_token_id": [END, EOS],
        "pad_token_id": PAD,
        "torch_dtype": "bfloat16",
    }


def tokenizer_config(size: ModelSize) -> dict[str, object]:
    return {
        "tokenizer_class": "PreTrainedTokenizerFast",
        "model_max_length": size.max_positions,
        "bos_token": SPECIAL[BOS],
        "eos_token": SPECIAL[END],
        "pad_token": SPECIAL[PAD],
        "clean_up_tokenization_spaces": False,
        "chat_template": CHAT_TEMPLATE,
    }


GENERATION = {
    "bos_token_id": BOS,
    "eos_token_id": [END, EOS],
    "pad_token_id": PAD,
    "do_sample": True,
    "temperature": 0.7,
    "top_p": 0.9,
}


def tensors(size: ModelSize, params: Params) -> dict[str, np.ndarray]:
    """The parameters in bfloat16 under Hugging Face's names, matrices as [out, in]."""
    named = {"model.embed_tokens.weight": params["embed"], "model.norm.weight": params["norm"]}
    for i in range(size.num_layers):
        for ours, theirs in LAYER_NAMES.items():
            named[f"model.layers.{i}.{theirs}.weight"] = params["layers"][ours][i]
    every = {
        name: value.T if value.ndim == 2 and "embed" not in name else value
        for name, value in named.items()
    }
    return {n: np.ascontiguousarray(np.asarray(v.astype(jnp.bfloat16))) for n, v in every.items()}


def _write(path: Path, content: object) -> None:
    path.write_text(json.dumps(content, indent=2, ensure_ascii=False) + "\n", encoding="utf-8")


def export(folder: Path, size: ModelSize, params: Params, tokenizer: Tokenizer) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    _write(folder / "config.json", config(size))
    _write(folder / "generation_config.json", GENERATION)
    _write(folder / "tokenizer_config.json", tokenizer_config(size))
    tokenizer.save(str(folder / "tokenizer.json"))
    save_file(tensors(size, params), folder / "model.safetensors", metadata={"format": "pt"})
