"""The two files that a batch writes: answers, and what failed."""

import asyncio
import uuid
from types import TracebackType
from typing import Any, Self

import orjson

from sgjax_server.batches.batch import Batch
from sgjax_server.batches.file_store import FileStore
from sgjax_server.batches.new_file import NewFile

_BLOCK_BYTES = 1 << 16


class OutputFile:
    """A file of a line a request, made when there is a first block to write."""

    def __init__(self, store: FileStore, batch: Batch, kind: str):
        self._store = store
        self._batch = batch
        self._kind = kind
        self._pending = bytearray()
        self._file: NewFile | None = None
        self._is_over = False
        self._lock = asyncio.Lock()

    def add(self, custom_id: str, response: Any, error: dict[str, str] | None = None) -> None:
        """Takes a line at once; `settle` writes it."""
        line = {
            "id": f"batch_req_{uuid.uuid4().hex}",
            "custom_id": custom_id,
            "response": response,
            "error": error,
        }
        self._pending += orjson.dumps(line) + b"\n"

    async def settle(self) -> None:
        """Writes if there is much to write. Raises StorageFull, FileTooLarge or StorageFailed."""
        if len(self._pending) >= _BLOCK_BYTES:
            # Not cut short: a block is written once, and before the file is whole.
            await asyncio.shield(self._write())

    async def keep(self) -> str | None:
        """The id of the file, which is whole now; None if it has no lines. Raises as `settle`."""
        await self._write()
        if self._file is None:
            return None
        name = f"{self._batch.id}_{self._kind}.jsonl"
        file, self._file = self._file, None
        kept = await file.keep(name, "batch_output", self._batch.output_lifetime_s)
        return kept.id

    async def _write(self) -> None:
        async with self._lock:
            block, self._pending = bytes(self._pending), bytearray()
            if block and not self._is_over:
                self._file = self._file or self._store.create()
                await self._file.write(block)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        """What was not kept is gone."""
        self._is_over = True
        if self._file is not None:
            self._file.discard()
