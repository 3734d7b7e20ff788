"""Command R7B and Command A: a Command-R with a window and RoPE in three of four layers, and
neither in the fourth. https://arxiv.org/abs/2504.00698"""

from sgjax.models import cohere
from sgjax.models.family import Family, ModelConfig
from sgjax.models.hf_config import HFConfig
from sgjax.models.hf_rope import read_rope

_TRAINED_WITH = {
    "order_of_interleaved_layers": "local_attn_first",
    "position_embedding_type": "rope_gptj",
    "rotary_pct": 1.0,
    "use_embedding_sharing": True,
    "use_gated_activation": True,
    "use_parallel_block": True,
    "use_qk_norm": False,
}
"""What the first checkpoints tell of how they were trained. transformers doesn't read it."""


def config(hf: HFConfig) -> ModelConfig:
    for key, value in _TRAINED_WITH.items():
        hf.expect(key, value)
    pattern = hf.size("sliding_window_pattern", hf.size("layer_switch", 4))
    slides = hf.sliding_layers(lambda layer: (layer + 1) % pattern != 0)
    window = hf.size("sliding_window", 4096)
    rope = read_rope(hf)
    cfg = cohere.read_sizes(
        hf,
        layer_ropes=tuple(rope if slide else None for slide in slides),
        rope=rope,
        windows=tuple(window if slide else None for slide in slides),
    )
    for key in ("cache_implementation", "use_parallel_embedding"):
        hf(key, None)  # about memory
    hf.finish()
    return cfg


FAMILY = Family(config=config, block=cohere.Block, weights=cohere.WEIGHTS)
