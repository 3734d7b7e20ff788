"""Responses that ended, in memory: to be read again, and to be gone on from."""

import dataclasses
from collections import OrderedDict
from collections.abc import Iterable
from typing import Any

import orjson

from sgjax.errors import InvalidRequest
from sgjax_server.batches.errors import NoSuchObject
from sgjax_server.responses.items import Item
from sgjax_server.responses.response import Response

MAX_RESPONSES = 10_000
MAX_BYTES = 256 * 2**20
_ITEM_BYTES = 256
"""What an item costs besides its text: its place in the index, about."""


class NoSuchResponse(InvalidRequest):
    """A response to go on from that is not there."""

    code = "previous_response_not_found"


@dataclasses.dataclass(frozen=True)
class StoredResponse:
    """A response that ended. Text of JSON takes a tenth of what its objects would."""

    id: str
    previous_id: str | None
    response: bytes
    input_items: bytes
    item_ids: tuple[str, ...]
    events: tuple[bytes, ...] | None
    """Of one that ran in the background as a stream."""

    @classmethod
    def of(cls, response: Response, events: Iterable[bytes] | None = None) -> "StoredResponse":
        items = [*response.input_items, *response.output.items]
        return cls(
            id=response.id,
            previous_id=response.previous_id,
            response=orjson.dumps(response.to_dict()),
            input_items=orjson.dumps(response.input_items),
            item_ids=tuple(item["id"] for item in items),
            events=None if events is None else tuple(events),
        )

    @property
    def num_bytes(self) -> int:
        told = sum(len(event) for event in self.events or ())
        return len(self.response) + len(self.input_items) + told + _ITEM_BYTES * len(self.item_ids)

    def input(self) -> list[Item]:
        return orjson.loads(self.input_items)

    def items(self) -> list[Item]:
        """What came in, and what went out."""
        return [*self.input(), *orjson.loads(self.response)["output"]]


class ResponseStore:
    """Keeps responses up to a number and a size; the least recently used are forgotten first."""

    def __init__(self, *, max_responses: int = MAX_RESPONSES, max_bytes: int = MAX_BYTES):
        self._max_responses = max_responses
        self._max_bytes = max_bytes
        self._stored: OrderedDict[str, StoredResponse] = OrderedDict()
        self._of_item: dict[str, str] = {}
        self._num_bytes = 0

    @property
    def num_bytes(self) -> int:
        return self._num_bytes

    def __len__(self) -> int:
        return len(self._stored)

    def put(self, stored: StoredResponse) -> None:
        self._stored[stored.id] = stored
        self._num_bytes += stored.num_bytes
        for item_id in stored.item_ids:
            self._of_item.setdefault(item_id, stored.id)
        while len(self._stored) > self._max_responses or self._num_bytes > self._max_bytes:
            self.delete(next(iter(self._stored)))

    def get(self, response_id: str) -> StoredResponse:
        """Raises NoSuchObject."""
        if response_id not in self._stored:
            raise NoSuchObject("response", response_id, param="response_id")
        self._stored.move_to_end(response_id)
        return self._stored[response_id]

    def delete(self, response_id: str) -> None:
        """Raises NoSuchObject."""
        stored = self.get(response_id)
        del self._stored[response_id]
        self._num_bytes -= stored.num_bytes
        for item_id in stored.item_ids:
            if self._of_item.get(item_id) == response_id:
                del self._of_item[item_id]

    def conversation(self, response_id: str) -> list[Item]:
        """All items up to the end of a response, with those of the responses it goes on from.

        Raises:
            NoSuchResponse: it, or one of those, is not there (any more).
        """
        chain: list[StoredResponse] = []
        wanted: str | None = response_id
        while wanted is not None:
            if wanted not in self._stored:
                raise _missing(response_id, wanted)
            # The first of a conversation, used last, goes last: without it the rest is of no use.
            chain.append(self.get(wanted))
            wanted = chain[-1].previous_id
        return [item for stored in reversed(chain) for item in stored.items()]

    def item(self, item_id: str) -> dict[str, Any]:
        """An item of any of them. Raises InvalidRequest where there is none of this id."""
        owner = self._of_item.get(item_id)
        if owner is not None:
            return next(item for item in self.get(owner).items() if item["id"] == item_id)
        raise InvalidRequest(
            f"There is no item {item_id[:80]!r} here: its response was never stored, or is stored "
            "no longer. Send the item itself.",
            param="input",
        )


def _missing(asked: str, missing: str) -> NoSuchResponse:
    part = "" if asked == missing else f", from which {asked[:80]!r} goes on,"
    return NoSuchResponse(
        f"The response {missing[:80]!r}{part} is not stored here: it was made with store=false, "
        "was deleted, has not ended, or made room for others. Send the whole conversation as "
        "input.",
        param="previous_response_id",
    )
