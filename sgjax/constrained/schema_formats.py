"""The formats of strings in JSON schemas: which are held, how, and which say nothing to hold."""

from typing import Any

from sgjax.constrained.part import Part

_YEAR = r"(?:000[1-9]|00[1-9][0-9]|0[1-9][0-9]{2}|[1-9][0-9]{3})"
_DAY = (
    r"(?:(?:0[13578]|1[02])-(?:0[1-9]|[12][0-9]|3[01])"
    r"|(?:0[469]|11)-(?:0[1-9]|[12][0-9]|30)|02-(?:0[1-9]|1[0-9]|2[0-8]))"
)
_LEAP_YEAR = r"(?:[0-9]{2}(?:0[48]|[2468][048]|[13579][26])|(?:0[48]|[2468][048]|[13579][26])00)"
_DATE = rf"(?:{_YEAR}-{_DAY}|{_LEAP_YEAR}-02-29)"
_TIME = (
    r"(?:[01][0-9]|2[0-3]):[0-5][0-9]:[0-5][0-9](?:\.[0-9]{1,9})?"
    r"(?:Z|[+-](?:[01][0-9]|2[0-3]):[0-5][0-9])"
)
PATTERNS = {"date": f"^{_DATE}$", "time": f"^{_TIME}$", "date-time": f"^{_DATE}T{_TIME}$"}
"""RFC 3339, as everybody can read it: no year 0, no 29th of February but in leap years, no leap
seconds, at most nanoseconds, capital letters. llguidance's own would let these through."""

OF_LLGUIDANCE = ("duration", "email", "hostname", "ipv4", "ipv6", "uri", "uuid")

ANNOTATIONS = (
    "base64url",
    "binary",
    "byte",
    "directory-path",
    "double",
    "file-path",
    "float",
    "int32",
    "int64",
    "password",
    "path",
    "uint32",
    "uint64",
)
"""What OpenAPI and pydantic say for readers: they bind nothing in JSON Schema."""


def check_format(place: Part, name: Any) -> None:
    """Raises InvalidRequest for a format that would not be held."""
    known = (*PATTERNS, *OF_LLGUIDANCE)
    if name not in known and name not in ANNOTATIONS:
        raise place.refuse(
            f"the format {str(name)[:80]!r} cannot be held. Those that can are "
            f"{', '.join(sorted(known))}. Use pattern, or leave it out."
        )


def with_patterns(schema: dict[str, Any]) -> dict[str, Any]:
    """A schema with the format as a pattern where we have one, and without it where it binds
    nothing."""
    name = schema.get("format")
    if name in ANNOTATIONS:
        return {key: value for key, value in schema.items() if key != "format"}
    if name not in PATTERNS:
        return schema
    out = {key: value for key, value in schema.items() if key != "format"}
    if "pattern" not in out:
        return out | {"pattern": PATTERNS[name]}
    return out | {"allOf": [*out.get("allOf", []), {"pattern": PATTERNS[name]}]}
