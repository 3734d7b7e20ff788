"""All batches of a server."""

import asyncio
import uuid

from sgjax.errors import InvalidRequest, QueueFull
from sgjax_server.batches.batch import Batch
from sgjax_server.batches.errors import NoSuchObject
from sgjax_server.batches.file_store import FileStore
from sgjax_server.batches.gate import Gate
from sgjax_server.batches.run import Ask, BatchRun
from sgjax_server.batches.stored_file import StoredFile

WINDOW_S = 24 * 3600
MAX_INPUT_BYTES = 200 * 2**20
MAX_BATCHES = 1000
"""So many are remembered: of those that have ended, the oldest are forgotten first."""
MAX_LIVE = 64


class Batches:
    """Starts batches and remembers them, until the server ends. Belongs to one asyncio loop."""

    def __init__(self, store: FileStore, gate: Gate, ask: Ask, *, window_s: int = WINDOW_S):
        self._store = store
        self._gate = gate
        self._ask = ask
        self._window_s = window_s
        self._runs: dict[str, BatchRun] = {}
        self._tasks: set[asyncio.Task[None]] = set()

    def create(
        self,
        endpoint: str,
        input_file_id: str,
        *,
        model: str,
        completion_window: str = "24h",
        metadata: dict[str, str] | None = None,
        output_lifetime_s: int | None = None,
    ) -> Batch:
        """Starts a batch.

        Raises:
            InvalidRequest: the file is not there, or no input of a batch.
            QueueFull: too many batches have not ended.
            StorageFailed: the file cannot be read.
        """
        file = self._input(input_file_id)
        self._make_room()
        now = self._store.now()
        batch = Batch(
            id=f"batch_{uuid.uuid4().hex}",
            endpoint=endpoint,
            input_file_id=input_file_id,
            completion_window=completion_window,
            model=model,
            created_at=now,
            expires_at=now + self._window_s,
            metadata=metadata,
            output_lifetime_s=output_lifetime_s,
        )
        run = BatchRun(batch, self._store.open(file), self._store, self._gate, self._ask)
        self._runs[batch.id] = run
        task = asyncio.create_task(run.run(), name=batch.id)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)
        return batch

    def list(self) -> list[Batch]:
        """All that are remembered, the newest first."""
        return [run.batch for run in reversed(self._runs.values())]

    def get(self, batch_id: str) -> Batch:
        """Raises NoSuchObject."""
        return self._run(batch_id).batch

    def cancel(self, batch_id: str) -> Batch:
        """Begins to end a batch. Raises NoSuchObject, or InvalidRequest for one that has ended."""
        run = self._run(batch_id)
        if run.batch.has_ended or run.batch.status == "finalizing":
            raise InvalidRequest(
                f"The batch is {run.batch.status} and can no longer be cancelled.",
                param="batch_id",
            )
        run.cancel()
        return run.batch

    async def stop(self) -> None:
        """Cancels all that have not ended, and waits for their ends."""
        for run in self._runs.values():
            if not run.batch.has_ended and run.batch.status != "finalizing":
                run.cancel()
        await asyncio.gather(*self._tasks)

    def _run(self, batch_id: str) -> BatchRun:
        if batch_id not in self._runs:
            raise NoSuchObject("batch", batch_id, param="batch_id")
        return self._runs[batch_id]

    def _input(self, file_id: str) -> StoredFile:
        try:
            file = self._store.get(file_id, param="input_file_id")
        except NoSuchObject as error:
            raise InvalidRequest(str(error), param="input_file_id") from None
        if file.purpose != "batch":
            raise InvalidRequest(
                f"The purpose of an input file must be 'batch', not {file.purpose!r}.",
                param="input_file_id",
            )
        if file.bytes > MAX_INPUT_BYTES:
            raise InvalidRequest(
                f"The input has {file.bytes} bytes, and a batch may have at most "
                f"{MAX_INPUT_BYTES}. Send it in parts.",
                param="input_file_id",
            )
        return file

    def _make_room(self) -> None:
        if len(self._tasks) >= MAX_LIVE:
            raise QueueFull(f"{MAX_LIVE} batches are under way, and no more can be. Wait for some.")
        if len(self._runs) >= MAX_BATCHES:
            ended = (name for name, run in self._runs.items() if run.batch.has_ended)
            del self._runs[next(ended)]
