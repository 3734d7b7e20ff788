"""Finds the request that makes steps fail, so that it alone fails.

A step that fails tells only that one of its requests is to blame. They are tried in halves: while
one half runs, nobody else is started; a request whose row was computed is cleared; a half that
fails is halved again, until one request is left.
"""

from collections.abc import Iterable

from sgjax.engine.request import Request


class Quarantine:
    """Who is suspected, who is on trial, and who was cleared. Empty in the usual case."""

    def __init__(self) -> None:
        self._groups: list[list[Request]] = []
        self._on_trial: set[Request] = set()
        self._cleared: set[Request] = set()

    @property
    def on_trial(self) -> set[Request] | None:
        """The only requests that may be started now; None: all."""
        return self._on_trial or None

    @property
    def is_empty(self) -> bool:
        return not self._groups and not self._on_trial

    def accuse(self, requests: Iterable[Request]) -> Request | None:
        """Takes the requests of a failed step; returns the guilty one if there is no doubt left."""
        everyone = [request for request in requests if request.finish_reason is None]
        suspects = [request for request in everyone if request not in self._cleared] or everyone
        self._cleared.difference_update(suspects)
        self._on_trial.difference_update(everyone)
        if len(suspects) <= 1:
            return suspects[0] if suspects else None
        middle = len(suspects) // 2
        self._groups += [suspects[middle:], suspects[:middle]]
        return None

    def clear(self, requests: Iterable[Request]) -> None:
        """Takes the requests of a step that was computed."""
        if self.is_empty:
            return
        requests = set(requests)
        self._cleared |= requests & self._on_trial
        self._on_trial -= requests

    def advance(self) -> None:
        """Puts the next group on trial, if nobody is. Requests that have ended are forgotten."""
        if self.is_empty:
            self._cleared.clear()
            return
        self._on_trial = {request for request in self._on_trial if request.finish_reason is None}
        while self._groups and not self._on_trial:
            group = self._groups.pop()
            self._on_trial = {request for request in group if request.finish_reason is None}
