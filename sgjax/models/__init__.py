"""Model families. How an engine makes a model and steps through it:

    family, cfg = read_model_config(model_dir, context_length=None)
    cfg = cfg.for_tp(tp_size)
    mesh = make_mesh(tp_size)                                              # sgjax.sharding.mesh
    graphdef, params = load_model(                                         # sgjax.weights.load
        model_dir, family, cfg, Placement(mesh, kernels=None), dtype=dtype, load_format="auto"
    )
    kv = init_kv(cfg, num_slots, dtype, mesh)                              # sgjax.cache.kv_cache
    logits, kv = forward(graphdef, params, kv, step)                       # sgjax.models.decoder

`forward` is for the engine to compile, with graphdef bound (`functools.partial(forward, graphdef)`)
and kv donated; logits are float32 [R, V]. Params and kv are plain pytrees of arrays.
"""

import difflib
import importlib
from pathlib import Path

from sgjax.errors import ConfigError
from sgjax.models.family import Family, ModelConfig
from sgjax.models.hf_config import HFConfig

FAMILIES = {
    "DbrxForCausalLM": "dbrx",
    "DeepseekForCausalLM": "deepseek",
    "DeepseekV2ForCausalLM": "deepseek_v2",
    "DeepseekV3ForCausalLM": "deepseek_v3",
    "Gemma2ForCausalLM": "gemma2",
    "GemmaForCausalLM": "gemma",
    "Glm4MoeForCausalLM": "glm4_moe",
    "GptOssForCausalLM": "gpt_oss",
    "GraniteMoeForCausalLM": "granite_moe",
    "Grok1ForCausalLM": "grok1",
    "Grok1ModelForCausalLM": "grok1",
    "Llama4ForCausalLM": "llama4",
    "LlamaForCausalLM": "llama",
    "MistralForCausalLM": "mistral",
    "MixtralForCausalLM": "mixtral",
    "OlmoeForCausalLM": "olmoe",
    "Qwen2ForCausalLM": "qwen2",
    "Qwen2MoeForCausalLM": "qwen2_moe",
    "Qwen3ForCausalLM": "qwen3",
    "Qwen3MoeForCausalLM": "qwen3_moe",
}
"""Architecture, as config.json names it -> the file that holds its family."""


def find_family(architecture: str) -> Family:
    """The family of an architecture.

    Raises:
        ConfigError: for an unknown one, with the known, nearest first.
    """
    if architecture not in FAMILIES:
        near = difflib.get_close_matches(architecture, FAMILIES, len(FAMILIES), cutoff=0)
        raise ConfigError(
            f"The architecture {architecture!r} is not supported. Supported: {', '.join(near)}."
        )
    return importlib.import_module(f"sgjax.models.{FAMILIES[architecture]}").FAMILY


def read_model_config(
    model_dir: str | Path, *, context_length: int | None = None
) -> tuple[Family, ModelConfig]:
    """Reads config.json. `context_length` asks for another than the checkpoint's.

    Raises:
        ConfigError: where the file is missing, not JSON, of an unknown architecture, inconsistent,
            or has keys that its family does not know.
    """
    hf = HFConfig.from_file(Path(model_dir) / "config.json")
    family = find_family(hf.architecture)
    return family, family.config(hf).with_context_length(context_length)
