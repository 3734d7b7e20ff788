"""One batch, from its file to its end."""

import asyncio
import logging
import uuid
from collections.abc import Awaitable, Callable
from typing import BinaryIO, Literal, NamedTuple

import orjson

from sgjax.errors import SgjaxError
from sgjax_server.batches.batch import Batch, Problem
from sgjax_server.batches.file_store import FileStore
from sgjax_server.batches.gate import Gate
from sgjax_server.batches.lines import Line, decode, find_problems, read_lines
from sgjax_server.batches.output import OutputFile

logger = logging.getLogger("sgjax.server")

_RETRY_S = 0.5

End = Literal["completed", "cancelled", "expired"]
_NOT_RUN = {
    "cancelled": "This request did not run to its end: the batch was cancelled.",
    "expired": "This request did not run to its end within the completion window.",
}


class Answer(NamedTuple):
    """What a route answers, as JSON."""

    status: int
    body: bytes


Ask = Callable[[str, bytes], Awaitable[Answer]]
"""Asks a route (its path, a body) as a client would."""


class BatchRun:
    """Runs a batch once. It takes over the input file that it is given, open."""

    def __init__(self, batch: Batch, file: BinaryIO, store: FileStore, gate: Gate, ask: Ask):
        self.batch = batch
        self._file = file
        self._store = store
        self._gate = gate
        self._ask = ask
        self._is_cancelled = asyncio.Event()
        self._answers = OutputFile(store, batch, "output")
        self._errors = OutputFile(store, batch, "error")
        self._is_done = bytearray()
        """By the requests' order, 1 for those that are in one of the files."""

    def cancel(self) -> None:
        """What runs is aborted; what was answered stays. Only for batches that have not ended."""
        if self.batch.status != "cancelling":
            self.batch.enter("cancelling", self._store.now())
            self._is_cancelled.set()

    async def run(self) -> None:
        """To an end of some kind, which the batch then tells."""
        try:
            with self._file, self._answers, self._errors:
                if await self._is_valid():
                    await self._work()
        except* SgjaxError as group:
            error = _first(group)
            self._fail([Problem(getattr(error, "code", None) or "server_error", str(error))])
        except* Exception:
            logger.exception("A batch failed.")
            self._fail([Problem("server_error", "The server made a mistake; its log tells more.")])

    async def _is_valid(self) -> bool:
        batch = self.batch
        batch.total, problems = await asyncio.to_thread(find_problems, self._file, batch.endpoint)
        if problems:
            self._fail(problems)
        return not problems

    def _fail(self, problems: list[Problem]) -> None:
        self.batch.problems = problems
        self.batch.enter("failed", self._store.now())

    async def _work(self) -> None:
        batch = self.batch
        self._is_done = bytearray(batch.total)
        if not self._is_cancelled.is_set():
            batch.enter("in_progress", self._store.now())
        end = await self._ask_until_an_end()
        if end == "completed":
            batch.enter("finalizing", self._store.now())
        else:
            await self._tell_what_did_not_run(end)
        batch.output_file_id = await self._answers.keep()
        batch.error_file_id = await self._errors.keep()
        batch.enter(end, self._store.now())

    async def _ask_until_an_end(self) -> End:
        work = asyncio.ensure_future(self._ask_all())
        cancelled = asyncio.ensure_future(self._is_cancelled.wait())
        timeout = self.batch.expires_at - self._store.now()
        try:
            await asyncio.wait(
                [work, cancelled], timeout=timeout, return_when=asyncio.FIRST_COMPLETED
            )
        finally:
            for task in (work, cancelled):
                task.cancel()
            await asyncio.gather(work, cancelled, return_exceptions=True)
        if not work.cancelled():
            work.result()  # raises what it raised
            return "completed"
        return "cancelled" if self._is_cancelled.is_set() else "expired"

    async def _ask_all(self) -> None:
        self._file.seek(0)
        lines = enumerate(read_lines(self._file))
        async with asyncio.TaskGroup() as group:
            while (found := await asyncio.to_thread(next, lines, None)) is not None:
                index, (_, data) = found
                await self._gate.enter()
                task = group.create_task(self._ask_one(index, decode(data)))
                task.add_done_callback(lambda _: self._gate.leave())

    async def _ask_one(self, index: int, line: Line) -> None:
        answer = await self._ask_patiently(line)
        is_good = answer.status == 200
        response = {
            "status_code": answer.status,
            "request_id": f"req_{uuid.uuid4().hex}",
            "body": orjson.Fragment(answer.body),
        }
        file = self._answers if is_good else self._errors
        file.add(line.custom_id, response)
        self._is_done[index] = True
        if is_good:
            self.batch.completed += 1
            self.batch.usage.add(orjson.loads(answer.body).get("usage") or {})
        else:
            self.batch.failed += 1
        await file.settle()

    async def _ask_patiently(self, line: Line) -> Answer:
        """A full queue is no error of the line: it waits for room."""
        while (answer := await self._ask(line.url, bytes(line.body))).status == 429:
            await asyncio.sleep(_RETRY_S)
        return answer

    async def _tell_what_did_not_run(self, end: End) -> None:
        error = {"code": f"batch_{end}", "message": _NOT_RUN[end]}
        self._file.seek(0)
        for index, (_, data) in enumerate(read_lines(self._file)):
            if not self._is_done[index]:
                self._errors.add(decode(data).custom_id, None, error)
                await self._errors.settle()


def _first(group: BaseExceptionGroup[SgjaxError]) -> SgjaxError:
    first = group.exceptions[0]
    return _first(first) if isinstance(first, BaseExceptionGroup) else first
