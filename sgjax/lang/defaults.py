"""The backend of programs that name none."""

from typing import Any

from sgjax.errors import InvalidProgram
from sgjax.lang.backends.contract import AnyBackend, Backend

_default: Backend | None = None


def as_backend(value: Any) -> Backend:
    """A backend itself, or that of what has one: an Engine, a Runtime.

    Raises:
        InvalidProgram: it is neither.
    """
    if hasattr(value, "generate") and hasattr(value, "chat_template"):
        return value
    if (found := getattr(value, "backend", None)) is not None:
        return found
    raise InvalidProgram(
        f"{type(value).__name__} is no backend. Use an Engine, Runtime, RuntimeEndpoint, OpenAI, "
        "Anthropic, LiteLLM or VertexAI."
    )


def set_default_backend(backend: AnyBackend) -> None:
    """Programs that name no backend run on this one."""
    global _default
    _default = as_backend(backend)


def backend_or_default(backend: AnyBackend | None) -> Backend:
    """Raises InvalidProgram where there is none."""
    if backend is not None:
        return as_backend(backend)
    if _default is None:
        raise InvalidProgram(
            "There is no backend. Name one by backend=..., or call set_default_backend first."
        )
    return _default
