"""config.json of published decoders that give vectors or scores, and what lies beside."""

import dataclasses
import json
from pathlib import Path
from typing import Any

from sgjax.models.family import Pooling
from tests.models.published import LLAMA_31, MISTRAL, QWEN2, QWEN3

LAST_STATE = Pooling()
LAST = {"pooling_mode_lasttoken": True, "pooling_mode_cls_token": False}


@dataclasses.dataclass(frozen=True)
class Embedder:
    """`num_params`: without the head of a language model."""

    config: dict[str, Any]
    num_params: int
    has_modules: bool = True
    pooling: Pooling = LAST_STATE


E5_MISTRAL = MISTRAL | {
    "_name_or_path": "mistralai/Mistral-7B-v0.1",
    "architectures": ["MistralModel"],
    "pad_token_id": 2,
    "torch_dtype": "float16",
    "transformers_version": "4.34.0",
    "use_cache": False,
}
GTE_QWEN2 = QWEN2 | {
    "_name_or_path": "Alibaba-NLP/gte-Qwen2-7B-instruct",
    "architectures": ["Qwen2Model"],
    "auto_map": {"AutoModel": "Alibaba-NLP/gte-Qwen2-7B-instruct--modeling_qwen.Qwen2Model"},
    "eos_token_id": 151643,
    "max_position_embeddings": 131072,
    "rope_scaling": None,
    "sliding_window": None,
    "torch_dtype": "float16",
    "vocab_size": 151646,
}
QWEN3_EMBEDDING = QWEN3 | {
    "eos_token_id": 151643,
    "hidden_size": 1024,
    "intermediate_size": 3072,
    "max_position_embeddings": 32768,
    "max_window_layers": 28,
    "num_attention_heads": 16,
    "num_hidden_layers": 28,
    "tie_word_embeddings": True,
    "vocab_size": 151669,
}
REWARD = LLAMA_31 | {
    "architectures": ["LlamaForSequenceClassification"],
    "id2label": {"0": "LABEL_0"},
    "label2id": {"LABEL_0": 0},
    "pad_token_id": 128256,
}
_SCORE = Pooling(is_normalised=False, labels=("LABEL_0",))

EMBEDDERS = {
    "e5-mistral-7b-instruct": Embedder(E5_MISTRAL, 7_110_660_096),
    "gte-Qwen2-7B-instruct": Embedder(GTE_QWEN2, 7_069_121_024),
    "Qwen3-Embedding-0.6B": Embedder(QWEN3_EMBEDDING, 595_776_512),
    "a reward model of Llama-3.1-8B": Embedder(REWARD, 7_504_928_768, False, _SCORE),
}


def say_modules(folder: Path, pooling: dict[str, Any], *others: str) -> None:
    """Writes what Sentence Transformers writes beside a model."""
    modules = [("", "Transformer"), ("1_Pooling", "Pooling"), *((name, name) for name in others)]
    listed = [
        {"idx": i, "path": path, "type": f"sentence_transformers.models.{kind}"}
        for i, (path, kind) in enumerate(modules)
    ]
    (folder / "modules.json").write_text(json.dumps(listed))
    (folder / "1_Pooling").mkdir(exist_ok=True)
    (folder / "1_Pooling" / "config.json").write_text(
        json.dumps({"word_embedding_dimension": 64, **pooling})
    )
