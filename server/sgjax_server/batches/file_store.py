"""Files that clients sent and batches wrote: bytes in one folder, bounded, under names of ours.

Nothing that a client says is ever a part of a path: ids are looked up, not opened.
"""

import fcntl
import shutil
import tempfile
import time
import uuid
from collections.abc import Callable
from pathlib import Path
from typing import BinaryIO

from sgjax.errors import ConfigError
from sgjax_server.batches.errors import NoSuchObject, StorageFailed, StorageFull
from sgjax_server.batches.new_file import NewFile
from sgjax_server.batches.stored_file import StoredFile, read_stored, remove

MAX_STORED_BYTES = 16 * 2**30
MAX_FILES = 10_000


class FileStore:
    """The files of one server. Belongs to one asyncio loop; only bytes move in threads.

    `folder` is made when it is first needed, belongs to one server at a time, and keeps its files
    when the server ends; None: a private temporary folder that goes with the server.
    """

    def __init__(
        self,
        folder: Path | None = None,
        *,
        max_stored_bytes: int = MAX_STORED_BYTES,
        max_files: int = MAX_FILES,
        clock: Callable[[], float] = time.time,
    ):
        """Raises ConfigError for a folder that cannot be used."""
        self._is_temporary = folder is None
        self._folder = folder
        self._lock: BinaryIO | None = None
        self._files: dict[str, StoredFile] = {}
        self._num_bytes = self._num_parts = 0
        self._max_bytes, self._max_files = max_stored_bytes, max_files
        self._clock = clock
        if folder is not None:
            self._take_over(folder)

    def now(self) -> int:
        return int(self._clock())

    def list(self) -> list[StoredFile]:
        """All files, the oldest first."""
        self._drop_expired()
        return list(self._files.values())

    def get(self, file_id: str, *, param: str = "file_id") -> StoredFile:
        """Raises NoSuchObject."""
        self._drop_expired()
        if file_id not in self._files:
            raise NoSuchObject("file", file_id, param=param)
        return self._files[file_id]

    def open(self, file: StoredFile) -> BinaryIO:
        """The bytes, to read; they stay there for who has opened them, though the file be deleted.

        Raises StorageFailed.
        """
        try:
            return (self._made_folder() / file.id).open("rb")
        except OSError as error:
            raise StorageFailed(error) from error

    def delete(self, file_id: str) -> None:
        """Raises NoSuchObject."""
        self._forget(self.get(file_id))

    def create(self) -> NewFile:
        """A file to write.

        Raises:
            StorageFull: there are as many as there may be.
            StorageFailed: the disk says no.
        """
        self._drop_expired()
        if len(self._files) + self._num_parts >= self._max_files:
            raise StorageFull(
                f"This server keeps at most {self._max_files} files. Delete some "
                "(DELETE /v1/files/{file_id})."
            )
        file_id = f"file-{uuid.uuid4().hex}"
        try:
            part = (self._made_folder() / f"{file_id}.part").open("xb")
        except OSError as error:
            raise StorageFailed(error) from error
        self._num_parts += 1
        return NewFile(self, file_id, part)

    def close(self) -> None:
        """Lets go of the folder; a temporary one is removed."""
        if self._is_temporary and self._folder is not None:
            shutil.rmtree(self._folder, ignore_errors=True)
            self._folder, self._files = None, {}
        if self._lock is not None:
            self._lock.close()
            self._lock = None

    def take(self, num_bytes: int) -> None:
        """Counts bytes that are about to be written. Raises StorageFull."""
        if self._num_bytes + num_bytes > self._max_bytes:
            raise StorageFull(
                f"This server's files may have {self._max_bytes} bytes together, and "
                f"{self._num_bytes} are taken. Delete some (DELETE /v1/files/{{file_id}})."
            )
        self._num_bytes += num_bytes

    def end_part(self, num_bytes: int, file: StoredFile | None) -> None:
        """A file was written: it is there from now on, or (None) its bytes are given back."""
        self._num_parts -= 1
        if file is None:
            self._num_bytes -= num_bytes
        else:
            self._files[file.id] = file

    def _made_folder(self) -> Path:
        if self._folder is None:
            self._folder = Path(tempfile.mkdtemp(prefix="sgjax-files-"))
        return self._folder

    def _drop_expired(self) -> None:
        now = self.now()
        for file in list(self._files.values()):
            if file.expires_at is not None and file.expires_at <= now:
                self._forget(file)

    def _forget(self, file: StoredFile) -> None:
        del self._files[file.id]
        self._num_bytes -= file.bytes
        remove(self._made_folder(), file.id)

    def _take_over(self, folder: Path) -> None:
        """Makes the folder ours, and finds what an earlier server left in it."""
        try:
            folder.mkdir(mode=0o700, parents=True, exist_ok=True)
            self._lock = (folder / "lock").open("ab")
            fcntl.flock(self._lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            assert self._lock is not None
            self._lock.close()
            raise ConfigError(
                f"--file-storage-path {folder} is in use by another server. Give each its own."
            ) from None
        except OSError as error:
            raise ConfigError(f"--file-storage-path {folder} cannot be used: {error}.") from None
        for part in folder.glob("file-*.part"):
            part.unlink(missing_ok=True)
        found = [
            file for path in folder.glob("file-*.json") if (file := read_stored(path)) is not None
        ]
        self._files = {file.id: file for file in sorted(found, key=lambda file: file.created_at)}
        self._num_bytes = sum(file.bytes for file in found)
