"""Calls of tools: a file a format, by the names that --tool-call-parser takes (SGLang's).

tools/scanner.py says how a text is read that comes bit by bit, tools/format.py what a format is,
tools/forcing.py how calls are forced.
"""

from sgjax_server.tools import (
    deepseek,
    glm45,
    gpt_oss,
    hermes,
    kimi_k2,
    llama3,
    mistral,
    pythonic,
    qwen3_coder,
)
from sgjax_server.tools.format import ToolFormat

FORMATS: dict[str, ToolFormat] = {
    "deepseekv3": deepseek.V3,
    "deepseekv31": deepseek.V31,
    "glm45": glm45.FORMAT,
    "gpt-oss": gpt_oss.FORMAT,
    "hermes": hermes.FORMAT,
    "kimi_k2": kimi_k2.FORMAT,
    "llama3": llama3.FORMAT,
    "mistral": mistral.FORMAT,
    "pythonic": pythonic.FORMAT,
    "qwen": hermes.FORMAT,
    "qwen25": hermes.FORMAT,
    "qwen3_coder": qwen3_coder.FORMAT,
}

_SIGNS = {
    "kimi_k2": ("<|tool_calls_section_begin|>",),
    "deepseekv3": (deepseek.BEGIN, "```json"),
    "deepseekv31": (deepseek.BEGIN,),
    "gpt-oss": ("<|channel|>commentary",),
    "glm45": ("<arg_key>",),
    "qwen3_coder": ("<function=",),
    "hermes": ("<tool_call>",),
    "mistral": ("[TOOL_CALLS]",),
    "pythonic": ("<|python_start|>",),
    "llama3": ("<|python_tag|>",),
}
"""What only a chat template that writes calls in this format has in it; the first that fits."""


def guess_format(template_source: str) -> ToolFormat | None:
    """The format of calls that a chat template shows to its model; None if it cannot be told."""
    for name, signs in _SIGNS.items():
        if all(sign in template_source for sign in signs):
            return FORMATS[name]
    return None
