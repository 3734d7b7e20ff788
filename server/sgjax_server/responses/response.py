"""A response from its beginning to its end: the object, and the events of a stream."""

import logging
import time
from collections.abc import AsyncGenerator
from typing import TYPE_CHECKING, Any

from sgjax.errors import RequestAborted, SgjaxError
from sgjax_server.chat_events import End, Event
from sgjax_server.errors import error_body
from sgjax_server.openai_form import Usage
from sgjax_server.responses.items import Item, new_id
from sgjax_server.responses.output import Output, Told

if TYPE_CHECKING:
    from sgjax_server.chat import ChatGeneration  # which knows the service that has responses

logger = logging.getLogger("sgjax.server")

Fields = dict[str, Any]


class Response:
    """One response. Each of its steps gives the events that tell of it, numbered from 0."""

    def __init__(self, fields: Fields, input_items: list[Item], output: Output):
        """`fields`: what the request says of it, in the form of the answer."""
        self.id = new_id("resp")
        self.input_items = input_items
        self.output = output
        self.is_over = False
        self._fields = fields
        self._created_at = int(time.time())
        self._completed_at: int | None = None
        self._status = "queued" if fields["background"] else "in_progress"
        self._error: Fields | None = None
        self._incomplete: Fields | None = None
        self._usage: Usage | None = None
        self._num_told = 0

    @property
    def previous_id(self) -> str | None:
        return self._fields["previous_response_id"]

    def to_dict(self) -> Fields:
        return {
            "id": self.id,
            "object": "response",
            "created_at": self._created_at,
            "completed_at": self._completed_at,
            "status": self._status,
            "error": self._error,
            "incomplete_details": self._incomplete,
            **self._fields,
            "output": self.output.items,
            "usage": _usage(self._usage) if self.is_over and self._usage is not None else None,
        }

    def create(self) -> list[Told]:
        told = [self._of_state("response.created")]
        if self._status == "queued":
            told.append(self._of_state("response.queued"))
        return self._number(told)

    def begin(self, usage: Usage) -> list[Told]:
        """It is computed from here on. `usage` counts while it is."""
        self._usage = usage
        self._status = "in_progress"
        return self._number([self._of_state("response.in_progress")])

    def take(self, news: Event) -> list[Told]:
        """Takes in the event that follows; with the End it is over."""
        if not isinstance(news, End):
            return self._number(self.output.take(news))
        if news.reason == "abort":
            return self._number(self._fail(RequestAborted("The request was aborted.")))
        is_cut = news.reason == "length"
        told = self.output.end("incomplete" if is_cut else "completed")
        self._status = "incomplete" if is_cut else "completed"
        if is_cut:
            self._incomplete = {"reason": "max_output_tokens"}
        else:
            self._completed_at = int(time.time())
        self.is_over = True
        return self._number([*told, self._of_state(f"response.{self._status}")])

    def fail(self, error: Exception) -> list[Told]:
        """It is over, since something went wrong."""
        return self._number(self._fail(error))

    def cancel(self) -> list[Told]:
        """It is over, since somebody said so."""
        told = self._cut("cancelled")
        return self._number([*told, self._of_state("response.failed")])

    def _fail(self, error: Exception) -> list[Told]:
        told = self._cut("failed")
        said = error_body(error)["error"]
        code = "rate_limit_exceeded" if said["type"] == "rate_limit_error" else "server_error"
        self._error = {"code": code, "message": said["message"]}
        return [*told, self._of_state("response.failed")]

    def _cut(self, status: str) -> list[Told]:
        told = self.output.end("incomplete") if self.output.items else []
        self._status = status
        self.is_over = True
        return told

    def _of_state(self, kind: str) -> Told:
        return {"type": kind, "response": self.to_dict()}

    def _number(self, told: list[Told]) -> list[Told]:
        for each in told:
            each["sequence_number"] = self._num_told
            self._num_told += 1
        return told


async def tell(
    response: Response, generation: "ChatGeneration"
) -> AsyncGenerator[list[Told], None]:
    """The events of a response as it is computed, those that come together. Errors are events."""
    yield response.create()
    try:
        yield response.begin(generation.usage)
        async for news in generation:
            yield [told for _, event in news for told in response.take(event)]
    except Exception as error:
        if not isinstance(error, SgjaxError):
            logger.exception("A response failed.")
        yield response.fail(error)


def _usage(usage: Usage) -> Fields:
    """Tokens from the cache are told of with --enable-cache-report only."""
    found = usage.to_dict()
    cached = found.get("prompt_tokens_details", {}).get("cached_tokens", 0)
    thought = found.get("completion_tokens_details", {}).get("reasoning_tokens", 0)
    return {
        "input_tokens": found["prompt_tokens"],
        "input_tokens_details": {"cached_tokens": cached},
        "output_tokens": found["completion_tokens"],
        "output_tokens_details": {"reasoning_tokens": thought},
        "total_tokens": found["total_tokens"],
    }
