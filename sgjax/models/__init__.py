"""Model families. How an engine makes a model and steps through it:

    family, cfg = read_model_config(model_dir, context_length=None)
    cfg = cfg.for_tp(tp_size)
    mesh = make_mesh(tp_size)                                              # sgjax.sharding.mesh
    model = open_model(                                                    # sgjax.weights.load
        model_dir, family, cfg, Placement(mesh, kernels=None), dtype=dtype, load_format="auto"
    )
    graphdef, params = model.graphdef, model.load()
    kv = init_kv(cfg, num_slots, dtype, mesh)                              # sgjax.cache.kv_cache
    logits, kv = forward(graphdef, params, kv, step)                       # sgjax.models.decoder

`forward` is for the engine to compile, with graphdef bound (`functools.partial(forward, graphdef)`)
and kv donated; logits are float32 [R, V]. Params and kv are plain pytrees of arrays.
"""

import dataclasses
import difflib
import importlib
from pathlib import Path

from sgjax.errors import ConfigError
from sgjax.models.family import Family, ModelConfig
from sgjax.models.hf_config import HFConfig
from sgjax.models.pooled import generator_of, read_max_length, read_pooling
from sgjax.models.text_part import text_part

FAMILIES = {
    "ArceeForCausalLM": "arcee",
    "BertForMaskedLM": "bert",
    "BertForSequenceClassification": "bert",
    "BertModel": "bert",
    "ChatGLMForCausalLM": "chatglm",
    "ChatGLMForConditionalGeneration": "chatglm",
    "ChatGLMModel": "chatglm",
    "Cohere2ForCausalLM": "cohere2",
    "CohereForCausalLM": "cohere",
    "DbrxForCausalLM": "dbrx",
    "DeepseekForCausalLM": "deepseek",
    "DeepseekV2ForCausalLM": "deepseek_v2",
    "DeepseekV3ForCausalLM": "deepseek_v3",
    "Ernie4_5ForCausalLM": "ernie45",
    "Ernie4_5_ForCausalLM": "ernie45",
    "Exaone4ForCausalLM": "exaone4",
    "ExaoneForCausalLM": "exaone",
    "GPTBigCodeForCausalLM": "gpt_bigcode",
    "Gemma2ForCausalLM": "gemma2",
    "Gemma3ForCausalLM": "gemma3",
    "Gemma3ForConditionalGeneration": "gemma3",
    "GemmaForCausalLM": "gemma",
    "Glm4ForCausalLM": "glm4",
    "Glm4MoeForCausalLM": "glm4_moe",
    "GlmForCausalLM": "glm",
    "GptOssForCausalLM": "gpt_oss",
    "GraniteForCausalLM": "granite",
    "GraniteMoeForCausalLM": "granite_moe",
    "Grok1ForCausalLM": "grok1",
    "Grok1ModelForCausalLM": "grok1",
    "InternLM2ForCausalLM": "internlm2",
    "Llama4ForCausalLM": "llama4",
    "Llama4ForConditionalGeneration": "llama4",
    "LlamaForCausalLM": "llama",
    "MiniCPMForCausalLM": "minicpm",
    "MistralForCausalLM": "mistral",
    "MixtralForCausalLM": "mixtral",
    "ModernBertForMaskedLM": "modernbert",
    "ModernBertForSequenceClassification": "modernbert",
    "ModernBertModel": "modernbert",
    "NemotronForCausalLM": "nemotron",
    "Olmo2ForCausalLM": "olmo2",
    "OlmoeForCausalLM": "olmoe",
    "Phi3ForCausalLM": "phi3",
    "QWenLMHeadModel": "qwen",
    "Qwen2ForCausalLM": "qwen2",
    "Qwen2MoeForCausalLM": "qwen2_moe",
    "Qwen3ForCausalLM": "qwen3",
    "Qwen3MoeForCausalLM": "qwen3_moe",
    "RobertaForMaskedLM": "roberta",
    "RobertaForSequenceClassification": "roberta",
    "RobertaModel": "roberta",
    "SeedOssForCausalLM": "seed_oss",
    "SmolLM3ForCausalLM": "smollm3",
    "StableLmForCausalLM": "stablelm",
    "Starcoder2ForCausalLM": "starcoder2",
    "XLMRobertaForMaskedLM": "roberta",
    "XLMRobertaForSequenceClassification": "roberta",
    "XLMRobertaModel": "roberta",
}
"""Architecture, as config.json names it -> the file that holds its family."""


def find_family(architecture: str) -> Family:
    """The family of an architecture, or of the one with the same layers that generates.

    Raises:
        ConfigError: for an unknown one, with the known, nearest first.
    """
    same_layers = generator_of(architecture)
    if architecture not in FAMILIES and same_layers not in FAMILIES:
        near = difflib.get_close_matches(architecture, FAMILIES, len(FAMILIES), cutoff=0)
        raise ConfigError(
            f"The architecture {architecture!r} is not supported. Supported: {', '.join(near)}."
        )
    file = FAMILIES.get(architecture) or FAMILIES[same_layers]
    return importlib.import_module(f"sgjax.models.{file}").FAMILY


def read_model_config(
    model_dir: str | Path, *, context_length: int | None = None, is_embedding: bool = False
) -> tuple[Family, ModelConfig]:
    """Reads config.json. `context_length` asks for another than the checkpoint's; `is_embedding`
    for the hidden states of a model that else generates.

    Raises:
        ConfigError: where the file is missing, not JSON, of an unknown architecture, inconsistent,
            or has keys that its family does not know.
    """
    folder = Path(model_dir)
    hf = text_part(HFConfig.from_file(folder / "config.json"))
    family = find_family(hf.architecture)
    is_causal = hf.flag("is_causal", True)
    hf("classification_out_size", None)  # for read_pooling
    cfg = family.config(hf).with_context_length(context_length)
    pooling = read_pooling(
        hf, folder, cfg.pooling, is_embedding=is_embedding or hf.architecture not in FAMILIES
    )
    if pooling is None and not is_causal:
        raise hf.error("is_causal", "is supported for embeddings only: serve with --is-embedding")
    if pooling is None:
        return family, cfg
    longest = read_max_length(folder) if context_length is None else None
    return family, dataclasses.replace(
        cfg,
        pooling=pooling,
        is_causal=is_causal and cfg.is_causal,
        tie_embeddings=True,
        context_length=min(cfg.context_length, longest or cfg.context_length),
    )
