"""Lists in pages, as OpenAI's clients turn them."""

from collections.abc import Sequence
from typing import Annotated, Any

from fastapi import Query

from sgjax.errors import InvalidRequest

Cursor = Annotated[str | None, Query(max_length=256)]
"""The id after which a page begins."""


def page(objects: Sequence[dict[str, Any]], after: str | None, limit: int) -> dict[str, Any]:
    """The first `limit` of the objects that come after the one of this id.

    Raises:
        InvalidRequest: there is none of this id.
    """
    begin = 0
    if after is not None:
        ids = [each["id"] for each in objects]
        if after not in ids:
            raise InvalidRequest(f"The list has no {after[:80]!r}.", param="after")
        begin = ids.index(after) + 1
    data = objects[begin : begin + limit]
    return {
        "object": "list",
        "data": data,
        "first_id": data[0]["id"] if data else None,
        "last_id": data[-1]["id"] if data else None,
        "has_more": begin + limit < len(objects),
    }
