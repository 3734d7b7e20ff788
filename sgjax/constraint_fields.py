"""The fields of SamplingParams that bind the output: what is checked of each before it is read."""

import json
from collections.abc import Mapping
from typing import Any

from sgjax.errors import InvalidRequest

CONSTRAINTS = ("regex", "json_schema", "ebnf", "structural_tag", "choice")
"""At most one of them is set."""
MAX_CONSTRAINT_BYTES = 256 * 1024
"""Of a regex, schema or grammar, or of all choices together, as UTF-8."""
MAX_CHOICES = 4096


def json_text(name: str, value: Any) -> Any:
    """A JSON object as the text of it; whatever else as it is."""
    if not isinstance(value, Mapping):
        return value
    try:
        return json.dumps(value, ensure_ascii=False, allow_nan=False)
    except (TypeError, ValueError) as error:
        raise InvalidRequest(f"{name} cannot be written as JSON: {error}.", param=name) from None
    except RecursionError:
        raise InvalidRequest(f"{name} is nested too deeply.", param=name) from None


def check_constraints(given: Mapping[str, Any], min_new_tokens: int) -> None:
    """Checks those that are set: that it is one, and its type and size.

    Raises:
        InvalidRequest: it is none of these, or goes together with min_new_tokens.
    """
    for name, value in given.items():
        if len(given) > 1:
            raise _two(*list(given)[:2])
        if min_new_tokens > 0:
            raise InvalidRequest(
                f"min_new_tokens ({min_new_tokens}) cannot be had together with {name}: the output "
                "ends where the constraint says. Leave it out, or ask for the length in the "
                "constraint itself.",
                param="min_new_tokens",
            )
        if name == "choice":
            _check_choices(value)
        else:
            _check_text(name, value)


def _two(first: str, second: str) -> InvalidRequest:
    return InvalidRequest(
        f"The output can be bound by one constraint only, but both {first} and {second} are set. "
        "Leave out one of them.",
        param=second,
    )


def _check_choices(choices: Any) -> None:
    if not isinstance(choices, tuple) or not all(isinstance(each, str) for each in choices):
        raise InvalidRequest("choice must be a list of strings.", param="choice")
    if not 0 < len(choices) <= MAX_CHOICES:
        raise InvalidRequest(
            f"choice must have 1 to {MAX_CHOICES} texts, not {len(choices)}.", param="choice"
        )
    _check_bytes("choice", "".join(choices))


def _check_text(name: str, text: Any) -> None:
    if not isinstance(text, str):
        raise InvalidRequest(f"{name} must be a string, not {type(text).__name__}.", param=name)
    if not text:
        raise InvalidRequest(f"{name} must not be empty. Leave it out to say nothing.", param=name)
    _check_bytes(name, text)


def _check_bytes(name: str, text: str) -> None:
    try:
        num_bytes = len(text.encode())
    except UnicodeEncodeError:
        raise InvalidRequest(
            f"{name} has a lone surrogate, which is no text.", param=name
        ) from None
    if num_bytes > MAX_CONSTRAINT_BYTES:
        raise InvalidRequest(
            f"{name} has {num_bytes} bytes, but at most {MAX_CONSTRAINT_BYTES} are read.",
            param=name,
        )
