"""A tiny checkpoint on the disk, and ways to damage it."""

import json
from collections.abc import Mapping
from pathlib import Path

import ml_dtypes
import numpy as np
from safetensors.numpy import save_file

CONFIG = {
    "architectures": ["LlamaForCausalLM"],
    "hidden_act": "silu",
    "hidden_size": 8,
    "intermediate_size": 12,
    "max_position_embeddings": 64,
    "num_attention_heads": 4,
    "num_hidden_layers": 2,
    "num_key_value_heads": 2,
    "vocab_size": 11,
}


def tensors(dtype: np.dtype | type = np.float32) -> dict[str, np.ndarray]:
    shapes = {"model.embed_tokens": (11, 8), "model.norm": (8,), "lm_head": (11, 8)}
    for layer in range(2):
        at = f"model.layers.{layer}"
        shapes |= {
            f"{at}.input_layernorm": (8,),
            f"{at}.self_attn.q_proj": (8, 8),
            f"{at}.self_attn.k_proj": (4, 8),
            f"{at}.self_attn.v_proj": (4, 8),
            f"{at}.self_attn.o_proj": (8, 8),
            f"{at}.post_attention_layernorm": (8,),
            f"{at}.mlp.gate_proj": (12, 8),
            f"{at}.mlp.up_proj": (12, 8),
            f"{at}.mlp.down_proj": (8, 12),
        }
    random = np.random.default_rng(0)
    return {
        f"{name}.weight": random.normal(size=shape).astype(dtype) for name, shape in shapes.items()
    }


def save(folder: Path, weights: Mapping[str, np.ndarray], **config: object) -> Path:
    """One file."""
    write_config(folder, **config)
    save_file(dict(weights), folder / "model.safetensors")
    return folder


def save_sharded(folder: Path, weights: Mapping[str, np.ndarray]) -> Path:
    """Two files and their index."""
    write_config(folder)
    names = sorted(weights)
    files = {
        "model-00001-of-00002.safetensors": names[:7],
        "model-00002-of-00002.safetensors": names[7:],
    }
    for file, inside in files.items():
        save_file({name: weights[name] for name in inside}, folder / file)
    index = {"weight_map": {name: file for file, inside in files.items() for name in inside}}
    (folder / "model.safetensors.index.json").write_text(json.dumps(index))
    return folder


def write_config(folder: Path, **config: object) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "config.json").write_text(json.dumps(CONFIG | config))


BFLOAT16 = np.dtype(ml_dtypes.bfloat16)
