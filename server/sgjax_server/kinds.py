"""Values that say by a field `type` what they are, for bodies.

A plain union's errors speak of every member. With these, the errors speak of the one that was
meant, and what this server does not serve is refused by its name:

    Part = Annotated[
        Annotated[Text, tag("text")] | Annotated[Refusal, tag("refusal")],
        by(kind), one_of("text", "refusal", refused=("input_image",)),
    ]

In the place of an error tags stand between < and >, since no client knows them.
"""

from collections.abc import Callable, Sequence
from typing import Any

from pydantic import BeforeValidator, Discriminator, Tag


def tag(name: str) -> Tag:
    """Marks a member of a union."""
    return Tag(f"<{name}>")


def by(name_of: Callable[[Any], str | None]) -> Discriminator:
    """Chooses the member of a union whose tag has the name that a value gets."""
    return Discriminator(lambda value: f"<{name_of(value)}>")


def is_tag(part: str) -> bool:
    """Whether a part of an error's place is a tag."""
    return part.startswith("<") and part.endswith(">")


def kind(value: Any) -> str | None:
    """The type that a value says it is of, as it came or as it was read."""
    return value.get("type") if isinstance(value, dict) else getattr(value, "type", None)


def one_of(*known: str, refused: Sequence[str] = (), default: str | None = None) -> BeforeValidator:
    """Lets values of these types through.

    Args:
        refused: types that the client's API knows and this server does not serve.
        default: the type of what does not say it.
    """

    def check(value: Any) -> Any:
        if not isinstance(value, dict):
            raise ValueError("must be an object")
        found = value.get("type", default) or default
        if isinstance(found, str) and found in refused:
            raise ValueError(f"type {found!r} is not served here. Served are: {', '.join(known)}")
        if found not in known:
            raise ValueError(f"type must be one of {', '.join(known)}, not {repr(found)[:60]}")
        return value

    return BeforeValidator(check)


def text_or_list(value: Any) -> str:
    """The name for what is a string ("text") or a list ("list")."""
    return "text" if isinstance(value, str) else "list"


def _check_text_or_list(value: Any) -> Any:
    if not isinstance(value, str | list):
        raise ValueError("must be a string or a list")
    return value


TEXT_OR_LIST = BeforeValidator(_check_text_or_list)
"""Goes with `text_or_list`."""
