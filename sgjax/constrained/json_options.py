"""Options of how JSON is written, which stand in a schema's root under `x-guidance`."""

import re
from typing import Any, Literal

from sgjax.constrained.part import Part

JsonWhitespace = Literal["compact", "flexible"]
"""Whether JSON may have spaces and line ends between its parts; if not, more of it is forced."""

OPTIONS = "x-guidance"
"""llguidance's name."""
_ESCAPES = 'bfnrt\\"'
"""What may follow a backslash in strings. Without u, since of a free key that is written with it
llguidance does not see that it is one of the named ones."""
_SEPARATORS = {"item_separator": ",", "key_separator": ":"}
_SPACES_ONLY = re.compile(r"(?:[ \n\r\t*+?|()\[\]]|\\[nrts]|\(\?:|\{\d{1,4}(?:,\d{0,4})?\})+")


def read_options(part: Part, said: Any, whitespace: JsonWhitespace) -> dict[str, Any]:
    """llguidance's options: ours, and on top those of whitespace that the schema has.

    Raises:
        InvalidRequest: the schema has another, or one with which the output might be no JSON.
    """
    if not isinstance(said, dict):
        raise part.refuse("options must be an object.")
    options = {"whitespace_flexible": whitespace == "flexible", "json_allowed_escapes": _ESCAPES}
    for name, value in said.items():
        options |= _option(part, name, value)
    return options


def _option(part: Part, name: str, value: Any) -> dict[str, Any]:
    if name == "whitespace_flexible" and isinstance(value, bool):
        return {name: value}
    if name in _SEPARATORS and isinstance(value, str) and value.strip(" ") == _SEPARATORS[name]:
        return {name: value}
    if name == "whitespace_pattern" and isinstance(value, str):
        return {"whitespace_flexible": True, name: _whitespace(part / name, value)}
    raise part.refuse(
        f"the option {name[:80]!r} is not known here, or its value is not of its type. Known: "
        "whitespace_flexible (a bool), whitespace_pattern (a regex), item_separator and "
        "key_separator (a comma and a colon, with spaces around)."
    )


def _whitespace(part: Part, pattern: str) -> str:
    """A regex of whitespace as JSON knows it."""
    if not _SPACES_ONLY.fullmatch(pattern):
        raise part.refuse(
            "a whitespace pattern is made of spaces, \\n, \\r, \\t, \\s and repetitions of these, "
            "such as '[ \\n]?' or '[ ]{0,2}'."
        )
    return pattern.replace(r"\s", r"[ \n\r\t]")
