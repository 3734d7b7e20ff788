"""What stands around the messages of a chat where a model reads plain text.

A `ChatTemplate` is found by the name of a model, or read from the Jinja template of its checkpoint
(`sgjax.text.role_texts`), which is what the model was trained with. The names are SGLang's.
"""

import dataclasses
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from sgjax.errors import InvalidProgram

ROLES = ("system", "user", "assistant")
NO_TEXTS = ("", "")


@dataclasses.dataclass(frozen=True)
class ChatTemplate:
    """The texts before and behind each role's messages."""

    name: str
    role_prefix_and_suffix: Mapping[str, tuple[str, str]]
    default_system_prompt: str | None = None
    """The system message of a chat that has none; None: it stays without."""
    stop_str: tuple[str, ...] = ()
    """Where an assistant's message ends."""
    image_token: str = "<image>"
    style: str = "plain"
    """"llama2": a system message stands within the first user's."""
    opening: str = ""
    """What stands before a chat that begins without a system message."""

    def prefix_and_suffix(
        self, role: str, messages: Sequence[Mapping[str, Any]]
    ) -> tuple[str, str]:
        """Those of a message behind these."""
        prefix, suffix = self.role_prefix_and_suffix.get(role, NO_TEXTS)
        if self.style == "llama2":
            if role == "system" and not messages:
                begin = self.role_prefix_and_suffix["user"][0]
                return begin + prefix, suffix
            if role == "user" and len(messages) == 1 and messages[0]["role"] == "system":
                return "", suffix
        return (prefix if messages else self.opening_of(role) + prefix), suffix

    def opening_of(self, role: str) -> str:
        return "" if role == "system" else self.opening


_CHATML = {
    "system": ("<|im_start|>system\n", "<|im_end|>\n"),
    "user": ("<|im_start|>user\n", "<|im_end|>\n"),
    "assistant": ("<|im_start|>assistant\n", "<|im_end|>\n"),
}
_HELPFUL = "You are a helpful assistant."

_TEMPLATES: dict[str, ChatTemplate] = {}
_MATCHES: list[Callable[[str], "ChatTemplate | None"]] = []


def register_chat_template(template: ChatTemplate) -> None:
    """Makes a template known by its name."""
    _TEMPLATES[template.name] = template


def register_chat_template_matching_function(
    match: Callable[[str], ChatTemplate | None],
) -> Callable[[str], ChatTemplate | None]:
    """Asks `match` for the templates of models, by their path, before all that were known."""
    _MATCHES.insert(0, match)
    return match


def template_of_texts(
    name: str,
    texts: Mapping[str, Sequence[str]],
    opening: str = "",
    stops: Sequence[str] = (),
) -> ChatTemplate:
    """The template of a checkpoint, by the texts around its roles (`sgjax.text.role_texts`)."""
    pairs = {role: (before, behind) for role, (before, behind) in texts.items()}
    return ChatTemplate(name, pairs, stop_str=tuple(stops), opening=opening)


def get_chat_template(name: str) -> ChatTemplate:
    """Raises InvalidProgram where there is none of that name."""
    try:
        return _TEMPLATES[name]
    except KeyError:
        known = ", ".join(sorted(_TEMPLATES))
        raise InvalidProgram(
            f"There is no chat template {name!r}. Known are {known}; register_chat_template adds "
            "one."
        ) from None


def get_chat_template_by_model_path(model_path: str) -> ChatTemplate:
    """The template that a model of this name reads, or "default"."""
    for match in _MATCHES:
        if (found := match(model_path)) is not None:
            return found
    name = model_path.lower()
    for kind, holds in _BY_PATH:
        if holds(name):
            return _TEMPLATES[kind]
    return _TEMPLATES["default"]


def _all_of(*words: str) -> Callable[[str], bool]:
    return lambda name: all(word in name for word in words)


def _any_of(*words: str) -> Callable[[str], bool]:
    return lambda name: any(word in name for word in words)


_BY_PATH: list[tuple[str, Callable[[str], bool]]] = [
    ("vicuna_v1.1", _any_of("vicuna", "llava-v1.5", "llava-next-video-7b")),
    ("chatml-llava", lambda name: "llava" in name and _any_of("qwen", "34b", "onevision")(name)),
    ("llama-3-instruct-llava", _all_of("llama3", "llava")),
    ("yi-vl", _all_of("yi-vl")),
    ("yi-1.5", _all_of("yi-1.5", "chat")),
    ("qwen", lambda name: "qwen" in name and _any_of("chat", "instruct", "qwen3")(name)),
    ("llama-3-instruct", lambda name: _any_of("llama-3", "llama3")(name) and "instruct" in name),
    (
        "llama-2-chat",
        lambda name: (
            _all_of("llama-2", "chat")(name)
            or (_any_of("mistral", "mixtral")(name) and "instruct" in name)
            or _all_of("codellama", "instruct")(name)
        ),
    ),
    ("gemma-it", _all_of("gemma", "it")),
    ("dbrx-instruct", _all_of("dbrx", "instruct")),
    ("c4ai-command-r", _all_of("c4ai-command-r")),
    ("claude", _all_of("claude")),
    ("chatml", _any_of("tinyllama", "chatml", "hermes")),
]

for _template in (
    ChatTemplate(
        "default",
        {"system": ("SYSTEM:", "\n"), "user": ("USER:", "\n"), "assistant": ("ASSISTANT:", "\n")},
    ),
    ChatTemplate(
        "claude",
        {"system": NO_TEXTS, "user": ("\n\nHuman: ", ""), "assistant": ("\n\nAssistant:", "")},
    ),
    ChatTemplate(
        "chatml",
        {**_CHATML, "system": ("<|im_start|>system\n", "<|im_end|>\n")},
        stop_str=("<|im_end|>",),
    ),
    ChatTemplate("chatml-llava", _CHATML, _HELPFUL, ("<|im_end|>",), "<image>\n"),
    ChatTemplate("qwen", _CHATML, _HELPFUL, ("<|im_end|>",)),
    ChatTemplate(
        "yi-1.5",
        {"system": NO_TEXTS, "user": _CHATML["user"], "assistant": _CHATML["assistant"]},
        stop_str=("<|im_end|>",),
    ),
    ChatTemplate(
        "vicuna_v1.1",
        {"system": ("", " "), "user": ("USER:", " "), "assistant": ("ASSISTANT:", "</s>")},
        "A chat between a curious user and an artificial intelligence assistant. The assistant "
        "gives helpful, detailed, and polite answers to the user's questions.",
        image_token=" <image>\n",
    ),
    ChatTemplate(
        "llama-2-chat",
        {
            "system": ("<<SYS>>\n", "\n<</SYS>>\n\n"),
            "user": ("[INST] ", " [/INST]"),
            "assistant": ("", " </s><s>"),
        },
        style="llama2",
    ),
    *(
        ChatTemplate(
            name,
            {
                role: (f"<|start_header_id|>{role}<|end_header_id|>\n\n", "<|eot_id|>")
                for role in ROLES
            },
            stop_str=("<|eot_id|>",),
            image_token=image_token,
        )
        for name, image_token in (
            ("llama-3-instruct", "<image>"),
            ("llama-3-instruct-llava", "<image>\n"),
        )
    ),
    ChatTemplate(
        "yi-vl",
        {
            "system": ("", "\n\n"),
            "user": ("### Human:", "\n"),
            "assistant": ("### Assistant:", "\n"),
        },
        "This is a chat between an inquisitive human and an AI assistant. Assume the role of the "
        "AI assistant. Read all the images carefully, and respond to the human's questions with "
        "informative, helpful, detailed and polite answers.",
        image_token=" <image_placeholder>\n",
    ),
    ChatTemplate(
        "gemma-it",
        {
            "system": NO_TEXTS,
            "user": ("<start_of_turn>user\n", "<end_of_turn>\n"),
            "assistant": ("<start_of_turn>model\n", "<end_of_turn>\n"),
        },
    ),
    ChatTemplate(
        "dbrx-instruct",
        {
            role: (f"<|im_start|>{role}\n", "<|im_end|>" if role == "system" else "\n<|im_end|>\n")
            for role in ROLES
        },
        stop_str=("<|im_end|>",),
    ),
    ChatTemplate(
        "c4ai-command-r",
        {
            role: (f"<|START_OF_TURN_TOKEN|><|{token}_TOKEN|>", "<|END_OF_TURN_TOKEN|>")
            for role, token in zip(ROLES, ("SYSTEM", "USER", "CHATBOT"), strict=True)
        },
    ),
):
    register_chat_template(_template)
