"""Models that read images too, whose text part is served."""

import json

import numpy as np
import pytest
import transformers

from sgjax.errors import CheckpointError, ConfigError
from sgjax.models import read_model_config
from tests.models.harness import Stepper, make_weights_matter, reference_logits

pytestmark = pytest.mark.torch

TEXT = {
    "hidden_size": 32,
    "intermediate_size": 48,
    "num_hidden_layers": 3,
    "num_attention_heads": 4,
    "num_key_value_heads": 2,
    "head_dim": 8,
    "vocab_size": 96,
    "max_position_embeddings": 128,
    "bos_token_id": None,
    "eos_token_id": None,
    "pad_token_id": None,
}
VISION = {"hidden_size": 16, "intermediate_size": 32, "num_hidden_layers": 1}
GEMMA_3 = transformers.Gemma3Config(
    text_config=TEXT
    | {
        "sliding_window": 5,
        "query_pre_attn_scalar": 12,
        "layer_types": ["sliding_attention", "full_attention", "sliding_attention"],
    },
    vision_config=VISION | {"num_attention_heads": 2, "image_size": 28, "patch_size": 14},
    mm_tokens_per_image=4,
    image_token_index=95,
)
LLAMA_4 = transformers.Llama4Config(
    text_config=TEXT
    | {
        "intermediate_size_mlp": 40,
        "num_local_experts": 4,
        "interleave_moe_layer_step": 2,
        "attention_chunk_size": 6,
        "no_rope_layers": [1, 0, 1],
        "layer_types": ["chunked_attention", "full_attention", "chunked_attention"],
        "floor_scale": 4,
    },
    vision_config=VISION
    | {
        "num_attention_heads": 2,
        "image_size": 28,
        "patch_size": 14,
        "vision_output_dim": 16,
        "projector_input_dim": 16,
        "projector_output_dim": 16,
        "pixel_shuffle_ratio": 1.0,
    },
    image_token_index=95,
)
TOKENS = np.random.default_rng(5).integers(0, 95, 20)


def saved(config, folder):
    config._attn_implementation = "eager"
    model = transformers.AutoModelForImageTextToText.from_config(config).float().eval()
    make_weights_matter(model)
    model.save_pretrained(folder)
    return model


@pytest.mark.parametrize("tp", [1, 2])
@pytest.mark.parametrize("config", [GEMMA_3, LLAMA_4], ids=["gemma3", "llama4"])
def test_texts_have_transformers_logits(tmp_path, config, tp):
    model = saved(config, tmp_path)
    stepper = Stepper(tmp_path, tp)
    found = [stepper.step([("text", part)])["text"] for part in np.split(TOKENS, [9])]
    if isinstance(model, transformers.Llama4ForConditionalGeneration):
        model = model.language_model  # transformers 5.24 fails where there is no image
    wanted = reference_logits(model, TOKENS)
    np.testing.assert_allclose(np.concatenate(found), wanted, atol=1e-4, rtol=1e-4)


def changed(folder, **values):
    path = folder / "config.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | values))
    return folder


def test_what_is_said_beside_the_text_part_must_be_known(tmp_path):
    saved(GEMMA_3, tmp_path)
    with pytest.raises(ConfigError, match="quantization_config"):
        read_model_config(changed(tmp_path, quantization_config={"quant_method": "fp8"}))


def test_a_model_that_reads_images_must_have_a_text_part(tmp_path):
    saved(GEMMA_3, tmp_path)
    with pytest.raises(ConfigError, match="lacks 'text_config'"):
        read_model_config(changed(tmp_path, text_config=None))


def test_tensors_that_read_images_are_only_known_beside_a_text_part(tmp_path):
    saved(GEMMA_3, tmp_path)
    values = json.loads((tmp_path / "config.json").read_text())
    text = values["text_config"] | {"architectures": ["Gemma3ForCausalLM"]}
    (tmp_path / "config.json").write_text(json.dumps(text | {"hidden_size": 64}))
    with pytest.raises(CheckpointError, match=r"language_model.model.embed_tokens.weight is"):
        Stepper(tmp_path)
