"""A file while it is written."""

import asyncio
import logging
from pathlib import Path
from typing import TYPE_CHECKING, BinaryIO

import msgspec

from sgjax_server.batches.errors import FileTooLarge, StorageFailed
from sgjax_server.batches.stored_file import StoredFile, remove

if TYPE_CHECKING:
    from sgjax_server.batches.file_store import FileStore  # which makes them

logger = logging.getLogger("sgjax.server")

MAX_FILE_BYTES = 512 * 2**20


class NewFile:
    """A file while it is written. Whoever has it must keep or discard it."""

    def __init__(self, store: "FileStore", file_id: str, part: BinaryIO):
        self._store = store
        self._id = file_id
        self._part = part
        self._num_bytes = 0
        self._is_open = True

    @property
    def num_bytes(self) -> int:
        return self._num_bytes

    async def write(self, data: bytes) -> None:
        """Raises FileTooLarge, StorageFull or StorageFailed."""
        if self._num_bytes + len(data) > MAX_FILE_BYTES:
            limit = MAX_FILE_BYTES // 2**20
            raise FileTooLarge(f"A file may have at most {limit} MiB.", param="file")
        self._store.take(len(data))
        self._num_bytes += len(data)
        try:
            await asyncio.to_thread(self._part.write, data)
        except OSError as error:
            raise StorageFailed(error) from error

    async def keep(self, filename: str, purpose: str, lifetime_s: int | None) -> StoredFile:
        """It is whole. Raises StorageFailed."""
        created_at = self._store.now()
        file = StoredFile(
            id=self._id,
            bytes=self._num_bytes,
            created_at=created_at,
            expires_at=None if lifetime_s is None else created_at + lifetime_s,
            filename=filename,
            purpose=purpose,
        )
        try:
            await asyncio.to_thread(self._finish, msgspec.json.encode(file))
        except BaseException as error:
            self.discard()
            if isinstance(error, OSError):
                raise StorageFailed(error) from error
            raise
        self._is_open = False
        self._store.end_part(self._num_bytes, file)
        return file

    def discard(self) -> None:
        """Nothing of it stays. May be called twice, and after `keep`."""
        if not self._is_open:
            return
        self._is_open = False
        part = Path(self._part.name)
        try:
            self._part.close()
        except OSError as error:  # what was not written yet cannot be, and need not
            logger.warning("%s could not be closed: %s", part.name, error)
        remove(part.parent, self._id)
        self._store.end_part(self._num_bytes, None)

    def _finish(self, said: bytes) -> None:
        part = Path(self._part.name)
        self._part.close()
        part.with_suffix(".json").write_bytes(said)
        part.rename(part.with_suffix(""))
