"""Errors in Anthropic's form, `{"type": "error", "error": {type, message}}`."""

from typing import Any

_TYPES = {
    401: "authentication_error",
    403: "permission_error",
    404: "not_found_error",
    413: "request_too_large",
    429: "rate_limit_error",
    503: "overloaded_error",
}


def is_anthropic(path: str) -> bool:
    """Whether a route is one of Anthropic's."""
    return path == "/v1/messages" or path.startswith("/v1/messages/")


def anthropic_form(body: dict[str, Any], status: int) -> dict[str, Any]:
    """An error that is in OpenAI's form, in Anthropic's."""
    error = body["error"]
    message = error["message"]
    if error["code"] == "context_length_exceeded":
        # Clients look for these words, and then shorten the conversation.
        message = f"prompt is too long: {message}"
    kind = _TYPES.get(status, "invalid_request_error" if status < 500 else "api_error")
    return {"type": "error", "error": {"type": kind, "message": message}}
