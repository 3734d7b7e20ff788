"""The lines of a batch's input: a request each."""

from collections.abc import Iterator
from typing import Annotated, Any, BinaryIO, Literal

import msgspec

from sgjax_server.batches.batch import Problem
from sgjax_server.body import MAX_BODY_BYTES

MAX_LINES = 50_000
MAX_LINE_BYTES = MAX_BODY_BYTES + 2**12
MAX_PROBLEMS = 100
"""Of a file full of errors, so many are told."""


class Line(msgspec.Struct, frozen=True):
    """A request, with its body as it was sent."""

    custom_id: Annotated[str, msgspec.Meta(min_length=1, max_length=512)]
    method: Literal["POST"]
    url: str
    body: msgspec.Raw


def read_lines(file: BinaryIO) -> Iterator[tuple[int, bytes]]:
    """The lines that are not empty, numbered from 1. One that is too long comes cut."""
    number = 0
    while data := file.readline(MAX_LINE_BYTES + 1):
        number += 1
        if data.strip():
            yield number, data
        if len(data) > MAX_LINE_BYTES and not data.endswith(b"\n"):
            return


def decode(data: bytes) -> Line:
    return msgspec.json.decode(data, type=Line)


def find_problems(file: BinaryIO, endpoint: str) -> tuple[int, list[Problem]]:
    """How many requests there are, and what is wrong with the file; it runs only if nothing is."""
    seen: set[str] = set()
    problems: list[Problem] = []
    for number, data in read_lines(file):
        if len(problems) >= MAX_PROBLEMS:
            break
        problem = _too_long(number, data) or _problem(number, data, endpoint, seen)
        if problem is not None:
            problems.append(problem)
        elif len(seen) > MAX_LINES:
            message = f"The file has more than {MAX_LINES} requests. Send it in parts."
            return len(seen), [Problem("too_many_requests", message)]
    if not seen and not problems:
        problems.append(Problem("empty_file", "The file has no requests."))
    return len(seen), problems


def _too_long(number: int, data: bytes) -> Problem | None:
    if len(data) <= MAX_LINE_BYTES:
        return None
    limit = MAX_BODY_BYTES // 2**20
    return Problem("line_too_long", f"A request may have at most {limit} MiB.", number)


def _problem(number: int, data: bytes, endpoint: str, seen: set[str]) -> Problem | None:
    try:
        line = decode(data)
        body = msgspec.json.decode(line.body)
    except msgspec.ValidationError as error:
        return Problem("invalid_request", f"{error}.", number)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
        return Problem("invalid_json_line", f"The line is no JSON object: {error}.", number)
    if line.custom_id in seen:
        message = f"custom_id {line.custom_id!r} names an earlier line too."
        return Problem("duplicate_custom_id", message, number, "custom_id")
    seen.add(line.custom_id)
    if line.url != endpoint:
        message = f"url must be the batch's endpoint, {endpoint}, not {line.url[:80]!r}."
        return Problem("mismatched_endpoint", message, number, "url")
    return _body_problem(number, body)


def _body_problem(number: int, body: Any) -> Problem | None:
    if not isinstance(body, dict):
        return Problem("invalid_request", "body must be an object.", number, "body")
    for name in ("stream", "background"):
        if body.get(name):
            message = f"{name} means nothing in a batch: leave it out."
            return Problem("invalid_request", message, number, f"body.{name}")
    return None
