"""What is kept of responses: how much, how long, and how they are found again."""

from typing import Any

import orjson
import pytest
from sgjax_server.batches.errors import NoSuchObject
from sgjax_server.responses.store import NoSuchResponse, ResponseStore, StoredResponse

from sgjax.errors import InvalidRequest


def stored(name: str, previous: str | None = None, text: str = "") -> StoredResponse:
    """A response with one item of input and one of output."""
    given, said = {"id": f"{name}-in", "text": text}, {"id": f"{name}-out", "text": text}
    return StoredResponse(
        name,
        previous,
        orjson.dumps({"output": [said]}),
        orjson.dumps([given]),
        (given["id"], said["id"]),
        None,
    )


def ids(items: list[dict[str, Any]]) -> list[str]:
    return [item["id"] for item in items]


def test_the_least_recently_used_goes_first() -> None:
    store = ResponseStore(max_responses=2)
    store.put(stored("a"))
    store.put(stored("b"))
    store.get("a")
    store.put(stored("c"))
    assert len(store) == 2
    store.get("a"), store.get("c")
    with pytest.raises(NoSuchObject):
        store.get("b")


def test_the_size_is_bounded_too() -> None:
    store = ResponseStore(max_bytes=3000)
    for name in "abcdef":
        store.put(stored(name, text="x" * 300))
        assert store.num_bytes <= 3000
    assert 0 < len(store) < 6
    store.put(stored("g", text="x" * 5000))
    assert len(store) == 0 and store.num_bytes == 0


def test_events_count_in_the_size() -> None:
    plain, told = stored("a"), stored("b")
    told = StoredResponse(
        *[getattr(told, f) for f in told.__dataclass_fields__ if f != "events"], (b"x" * 100,)
    )
    assert told.num_bytes == plain.num_bytes + 100


def test_a_conversation_is_all_items_from_its_first_response_on() -> None:
    store = ResponseStore()
    store.put(stored("a"))
    store.put(stored("b", "a"))
    store.put(stored("c", "b"))
    store.put(stored("x", "a"))
    assert ids(store.conversation("c")) == ["a-in", "a-out", "b-in", "b-out", "c-in", "c-out"]
    assert ids(store.conversation("x")) == ["a-in", "a-out", "x-in", "x-out"]


def test_a_conversation_that_goes_on_keeps_its_first_response() -> None:
    store = ResponseStore(max_responses=3)
    store.put(stored("a"))
    store.put(stored("b", "a"))
    store.put(stored("other"))
    store.conversation("b")
    store.put(stored("c", "b"))
    assert ids(store.conversation("c"))[0] == "a-in"


@pytest.mark.parametrize("gone", ["a", "b"])
def test_a_conversation_with_a_hole_is_refused(gone: str) -> None:
    store = ResponseStore()
    store.put(stored("a"))
    store.put(stored("b", "a"))
    store.delete(gone)
    with pytest.raises(NoSuchResponse, match=f"'{gone}'") as caught:
        store.conversation("b")
    assert caught.value.code == "previous_response_not_found"
    assert caught.value.param == "previous_response_id"


def test_items_are_found_while_their_response_is_there() -> None:
    store = ResponseStore()
    store.put(stored("a", text="x"))
    assert store.item("a-in") == {"id": "a-in", "text": "x"}
    assert store.item("a-out")["id"] == "a-out"
    store.delete("a")
    for item_id in ("a-in", "a-out", "b-in"):
        with pytest.raises(InvalidRequest, match="There is no item"):
            store.item(item_id)


def test_deleting_gives_back_all_that_was_taken() -> None:
    store = ResponseStore()
    store.put(stored("a"))
    store.delete("a")
    assert (len(store), store.num_bytes) == (0, 0)
    with pytest.raises(NoSuchObject, match="There is no response 'a'"):
        store.delete("a")
