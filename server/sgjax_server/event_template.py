"""Events of which few values change from one to the next."""

import uuid
from collections.abc import Callable
from typing import Any

from sgjax_server.sse import event

_MARK = uuid.uuid4().hex
"""Stands for values; nobody can know it, and write it into a request."""


class EventTemplate:
    """An event whose form is encoded once; only what changes is encoded each time.

    Chunks of a stream differ in a text and a number or two, and there are thousands in a second.
    """

    def __init__(self, form: Callable[..., Any], num_values: int = 1):
        """`form` makes the event's object from stand-ins for the values, in the order in which they
        stand in it."""
        marks = [f"{_MARK}.{number}" for number in range(num_values)]
        self._form = event(form(*marks)).replace(b"%", b"%%")
        for mark in marks:
            self._form = self._form.replace(f'"{mark}"'.encode(), b"%b")

    def fill(self, *values: bytes | bytearray) -> bytes:
        """The event with these values, which are JSON."""
        return self._form % values
