"""Chat templates that --chat-template takes by name, for models that bring none.

The names are SGLang's, of formats of text. What is in words here (the default system message, the
stops) is as SGLang has it; the rest as the models were trained.
"""

import dataclasses
import json
from importlib.resources import files

_ASSISTANT = "You are a helpful assistant."
_VICUNA = (
    "A chat between a curious user and an artificial intelligence assistant. The assistant gives "
    "helpful, detailed, and polite answers to the user's questions."
)
_WITHOUT_TOOLS = (
    "{%- for message in messages if message.role == 'tool' or message.tool_calls %}"
    "{{- raise_exception('a template given by name has no words for tools') }}{% endfor -%}"
)


@dataclasses.dataclass(frozen=True)
class NamedTemplate:
    """A file of the folder `named`, and what goes with it."""

    file: str
    stops: tuple[str, ...] = ()
    """Texts at which an answer ends, besides the model's own EOS."""
    system: str = ""
    """The system message of chats without one."""
    begins_with_bos: bool = True

    @property
    def source(self) -> str:
        """Jinja."""
        text = files("sgjax.text").joinpath("named", f"{self.file}.jinja").read_text("utf-8")
        bos = "true" if self.begins_with_bos else "false"
        values = f"{{%- set begins_with_bos = {bos} -%}}"
        values += f"{{%- set default_system = {json.dumps(self.system)} -%}}"
        return f"{values}{_WITHOUT_TOOLS}{text}"


_CHATML = NamedTemplate(
    "chatml", ("<|endoftext|>", "<|im_end|>"), _ASSISTANT, begins_with_bos=False
)
_LLAMA_2 = NamedTemplate("llama-2", ("[INST]", "[/INST]", "<<SYS>>", "<</SYS>>"))
_LLAMA_3 = NamedTemplate("llama-3", ("<|end_of_text|>", "<|eot_id|>"))

NAMED = {
    "chatml": _CHATML,
    "chatml-llava": _CHATML,
    "gemma-it": NamedTemplate("gemma-it", ("<end_of_turn>",)),
    "internlm2-chat": NamedTemplate("chatml", ("<|im_end|>", "<|action_end|>")),
    "llama-2": _LLAMA_2,
    "llama-2-chat": _LLAMA_2,
    "llama-3-instruct": _LLAMA_3,
    "llama-4": NamedTemplate("llama-4", ("<|end_of_text|>", "<|eot|>", "<|eom|>")),
    "mistral": NamedTemplate("mistral", ("[INST]", "[/INST]")),
    "qwen": _CHATML,
    "qwen2-vl": NamedTemplate("chatml", ("<|im_end|>",), _ASSISTANT, begins_with_bos=False),
    "vicuna_v1.1": NamedTemplate("vicuna_v1.1", system=_VICUNA),
}
