"""Thoughts before the answer: a row a format, by the names that --reasoning-parser takes
(SGLang's)."""

from sgjax_server.reasoning.format import ReasoningFormat
from sgjax_server.reasoning.harmony import HARMONY
from sgjax_server.reasoning.tagged import Thinking

_QWEN = Thinking()
_ALWAYS = Thinking(is_assumed=True)

FORMATS: dict[str, ReasoningFormat] = {
    "deepseek-r1": _ALWAYS,
    "deepseek-v3": _QWEN,
    "glm45": _QWEN,
    "gpt-oss": HARMONY,
    "interns1": _QWEN,
    "kimi": Thinking("◁think▷", "◁/think▷"),
    "kimi_k2": _QWEN,
    "minimax": _ALWAYS,
    "mistral": Thinking("[THINK]", "[/THINK]"),
    "qwen3": _QWEN,
    "qwen3-thinking": _ALWAYS,
    "step3": _ALWAYS,
}
