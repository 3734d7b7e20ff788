"""Chat templates: messages to the prompt that a model was trained to read."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import jinja2

from sgjax.errors import ConfigError, InvalidRequest
from sgjax.text.chat_messages import normalize_messages
from sgjax.text.checkpoint_files import read_json, read_special_tokens
from sgjax.text.named_templates import NAMED
from sgjax.text.template_sandbox import TEMPLATE_FAULTS, OverBudget, Refused, SandboxedTemplate

COMMON_KWARGS = frozenset(("enable_thinking", "thinking", "reasoning_effort", "documents"))
"""Accepted for every template, since clients send them to every model."""

_RESERVED = frozenset(("messages", "tools", "add_generation_prompt"))
_MARK = "\ue000 the message goes on from here \ue001"

_NO_TEMPLATE = (
    "This model has no chat template, so it cannot chat. Completions work; or serve it with "
    "--chat-template and a .jinja file."
)


class ChatTemplate:
    """The chat templates of a checkpoint: one, or a second one for requests with tools."""

    def __init__(
        self,
        sources: Mapping[str, str],
        special_tokens: Mapping[str, str],
        *,
        problem: str | None = None,
        stops: Sequence[str] = (),
    ):
        """`sources`: Jinja source by name: "default", maybe "tool_use" and others.

        Args:
            special_tokens: what templates read as `bos_token` and the like.
            problem: why there is none, to be said to whoever wants to chat.
            stops: texts at which an answer ends, besides EOS.
        """
        self.stops = tuple(stops)
        self._special_tokens = dict(special_tokens)
        self.source = "\n".join(sources.values())
        """All of the templates, as they are written."""
        self.problem = problem if sources else problem or _NO_TEMPLATE
        """Why no chat can be rendered; None if all is well. Completions work all the same."""
        self._templates: dict[str, SandboxedTemplate] = {}
        try:
            self._templates = {name: SandboxedTemplate(text) for name, text in sources.items()}
        except (jinja2.TemplateError, RecursionError) as error:
            self.problem = (
                f"The model's chat template cannot be read: {_reason(error)}. Completions work; or "
                "serve it with --chat-template and a .jinja file."
            )

    @classmethod
    def load(cls, model_dir: str | Path, override: str | Path | None = None) -> "ChatTemplate":
        """Reads chat_template.jinja, or else what tokenizer_config.json has.

        A checkpoint without a template, or with a broken one, still loads: see `problem`.

        Raises:
            ConfigError: `override` (a .jinja file, or a name of NAMED) is missing or broken.
            CheckpointError: a JSON file of the checkpoint is damaged.
        """
        folder = Path(model_dir)
        special_tokens = read_special_tokens(folder)
        if override in NAMED:
            named = NAMED[str(override)]
            return cls({"default": named.source}, special_tokens, stops=named.stops)
        if override is not None:
            return cls._of_operator(Path(override), special_tokens)
        try:
            return cls(_read_sources(folder), special_tokens)
        except (OSError, UnicodeDecodeError, KeyError, TypeError) as error:
            problem = (
                f"The model's chat template cannot be read: {error!r}. Completions work; or serve "
                "it with --chat-template and a .jinja file."
            )
            return cls({}, special_tokens, problem=problem)

    @classmethod
    def _of_operator(cls, path: Path, special_tokens: Mapping[str, str]) -> "ChatTemplate":
        try:
            source = path.read_text(encoding="utf-8")
        except (OSError, UnicodeDecodeError) as error:
            raise ConfigError(
                f"--chat-template {path} cannot be read: {error}. "
                "Give the path of a Jinja file, or leave it out to use the model's own."
            ) from error
        template = cls({"default": source}, special_tokens)
        if template.problem is not None:
            raise ConfigError(f"--chat-template {path}: {template.problem}")
        return template

    def render(
        self,
        messages: Any,
        /,
        *,
        add_generation_prompt: bool | None = None,
        continue_final_message: bool = False,
        tools: list[Any] | None = None,
        **kwargs: Any,
    ) -> str:
        """The prompt. Encode it with `add_special_tokens=False`: it has its own.

        Args:
            messages: role, content (a string or parts of text), and what else the template reads.
            add_generation_prompt: end with the beginning of an answer; by default, unless
                `continue_final_message` is given.
            continue_final_message: leave the last message, an assistant's, open at its end.
            tools: JSON schemas of functions.
            kwargs: variables that the template reads, such as `enable_thinking`.

        Raises:
            InvalidRequest: there is no template, it refuses the messages or fails on them, or an
                argument is not allowed.
        """
        if self.problem is not None:
            raise InvalidRequest(self.problem, param="messages")
        if add_generation_prompt and continue_final_message:
            raise InvalidRequest(
                "add_generation_prompt begins a new message and continue_final_message goes on "
                "with the last: set one of them.",
                param="continue_final_message",
            )
        template = self._choose(tools)
        _check_kwargs(template, kwargs)
        chat = normalize_messages(messages, keep_none=template.asks_for_none)
        if continue_final_message:
            chat[-1] = _marked(chat[-1])
        variables = {
            "documents": None,
            **self._special_tokens,
            **kwargs,
            "messages": chat,
            "tools": tools,
            "add_generation_prompt": (
                not continue_final_message
                if add_generation_prompt is None
                else add_generation_prompt
            ),
        }
        prompt = _render(template, variables)
        return _cut_at_mark(prompt) if continue_final_message else prompt

    @property
    def shows_tools(self) -> bool:
        """Whether the template for requests with tools reads them."""
        name = "tool_use" if "tool_use" in self._templates else "default"
        return name in self._templates and "tools" in self._templates[name].variables

    def _choose(self, tools: list[Any] | None) -> SandboxedTemplate:
        name = "tool_use" if tools and "tool_use" in self._templates else "default"
        if name not in self._templates:
            raise InvalidRequest(
                f"This model has chat templates ({', '.join(self._templates)}), but none named "
                "'default'. Completions work; or serve it with --chat-template and a .jinja file.",
                param="messages",
            )
        return self._templates[name]


def _read_sources(folder: Path) -> dict[str, str]:
    """The templates by name, from the first place that has any."""
    files = {path.stem: path for path in sorted(folder.glob("additional_chat_templates/*.jinja"))}
    if (folder / "chat_template.jinja").is_file():
        files["default"] = folder / "chat_template.jinja"
    if files:
        return {name: path.read_text(encoding="utf-8") for name, path in files.items()}
    for name in ("tokenizer_config.json", "chat_template.json"):
        template = read_json(folder / name).get("chat_template")
        if isinstance(template, str):
            return {"default": template}
        if template:
            return {str(entry["name"]): _text(entry["template"]) for entry in template}
    return {}


def _text(value: Any) -> str:
    if not isinstance(value, str):
        raise TypeError(f"a template must be a string, not {type(value).__name__}")
    return value


def _check_kwargs(template: SandboxedTemplate, kwargs: Mapping[str, Any]) -> None:
    """Lets through what the template reads: a request must not rename the BOS token, say."""
    readable = {
        name
        for name in template.variables - _RESERVED
        if not name.endswith("_token") and not name.startswith("_")
    }
    allowed = readable | COMMON_KWARGS
    for name in kwargs:
        if name not in allowed:
            raise InvalidRequest(
                f"chat_template_kwargs: {name!r} is not read by this model's chat template. "
                f"Allowed: {', '.join(sorted(allowed))}.",
                param="chat_template_kwargs",
            )


def _render(template: SandboxedTemplate, variables: Mapping[str, Any]) -> str:
    try:
        return template.render(variables)
    except Refused as error:
        message = f"The model's chat template refuses these messages: {error}"
    except OverBudget as error:
        message = f"The model's chat template was stopped: {error}. Send fewer or shorter messages."
    except TEMPLATE_FAULTS as error:
        message = (
            f"The model's chat template failed on these messages: {_reason(error)}. Check roles "
            "and fields of the messages against what the model's card shows."
        )
    raise InvalidRequest(message, param="messages")


def _marked(message: dict[str, Any]) -> dict[str, Any]:
    content = message["content"]
    if message["role"] != "assistant" or not content:
        raise InvalidRequest(
            "continue_final_message needs a last message of role assistant with content to go on "
            "from.",
            param="continue_final_message",
        )
    # The space behind the mark tells whether the template trims the ends of messages.
    return {**message, "content": f"{content}{_MARK} "}


def _cut_at_mark(prompt: str) -> str:
    before, mark, after = prompt.rpartition(_MARK)
    if not mark:
        raise InvalidRequest(
            "continue_final_message: this model's chat template does not show the last message.",
            param="continue_final_message",
        )
    return before if after.startswith(" ") else before.rstrip()


def _reason(error: BaseException) -> str:
    return str(error).strip().rstrip(".") or type(error).__name__
