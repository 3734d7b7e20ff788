"""What all documented answers have in common.

The classes of this package say in the OpenAPI document what routes answer; the answers themselves
are plain dicts, which orjson writes. tests/server/test_openapi.py holds one against the other.
"""

from typing import Any

from pydantic import BaseModel, ConfigDict


class Answer(BaseModel):
    """An object with these fields and no others; those with a default may be missing."""

    model_config = ConfigDict(extra="forbid")


class ErrorFields(Answer):
    message: str
    type: str
    param: str | None
    code: str | None


class Error(Answer):
    """Any error, of any route; in a stream too, as its last event."""

    error: ErrorFields


def errors(*statuses: int, model: str = "Error") -> dict[int | str, dict[str, Any]]:
    """A route's `responses` for these statuses."""
    content = {"application/json": {"schema": reference(model)}}
    return {each: {"description": _MEANING[each], "content": content} for each in statuses}


def events(*models: type[Answer], says_done: bool = True) -> dict[int | str, dict[str, Any]]:
    """A route's `responses` where 200 may also be a stream, whose events are of these models.

    `says_done`: the last event is [DONE], as in OpenAI's older streams.
    """
    told = {
        "type": "string",
        "contentMediaType": "application/json",
        "contentSchema": {"anyOf": [reference(model.__name__) for model in (*models, Error)]},
    }
    done = [{"const": "[DONE]", "description": "The last one."}] if says_done else []
    event = {
        "type": "object",
        "properties": {"event": {"type": "string"}, "data": {"anyOf": [told, *done]}},
        "required": ["data"],
        "description": "One event of the stream.",
    }
    return {200: {"content": {"text/event-stream": {"schema": event}}}}


def reference(name: str) -> dict[str, str]:
    """To the model of this name, as it stands in the document."""
    return {"$ref": f"#/components/schemas/{name}"}


_MEANING = {
    400: "The request is at fault; the message says how to mend it.",
    404: "There is no such thing here.",
    413: "The body is too large.",
    415: "The body has the wrong content type.",
    429: "Too much is under way: try again later.",
    500: "The engine failed on this request.",
    503: "The server is stopping, its engine has ended, or it is not ready.",
    507: "The server's disk is full or failed.",
}

READS_JSON = errors(400, 413, 415)
GENERATES = READS_JSON | errors(404, 429, 500, 503)
