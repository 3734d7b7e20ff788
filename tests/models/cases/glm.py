"""GLM-4 9B, and GLM-4-0414."""

from transformers import Glm4Config, GlmConfig

from tests.models.cases import case, rope

HALF_HEADS = rope("default", partial_rotary_factor=0.5) | {"pad_token_id": None}
WHOLE_HEADS = rope("default", partial_rotary_factor=1.0)

CASES = {
    "glm": case(GlmConfig, HALF_HEADS, part=WHOLE_HEADS, bias={"attention_bias": False}),
    "glm4": case(
        Glm4Config,
        HALF_HEADS | {"attention_bias": False},
        part=WHOLE_HEADS,
        norms=(GlmConfig, {}),
    ),
}
