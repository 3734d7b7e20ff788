"""What is known of a file, and how it lies in a folder.

A file is `<id>`, with `<id>.json` beside it that says what it is, and `<id>.part` while it is
written.
"""

import logging
from pathlib import Path

import msgspec

logger = logging.getLogger("sgjax.server")


class StoredFile(msgspec.Struct, frozen=True, kw_only=True):
    """What is known of a file."""

    id: str
    bytes: int
    created_at: int
    expires_at: int | None
    filename: str
    """As the client calls it: shown to clients, and used for nothing else."""
    purpose: str


def read_stored(path: Path) -> StoredFile | None:
    try:
        file = msgspec.json.decode(path.read_bytes(), type=StoredFile)
        if file.id == path.stem and path.with_suffix("").stat().st_size == file.bytes:
            return file
    except (OSError, msgspec.MsgspecError):
        pass
    logger.warning("%s says nothing of a whole file: it is left alone.", path)
    return None


def remove(folder: Path, file_id: str) -> None:
    for name in (file_id, f"{file_id}.json", f"{file_id}.part"):
        try:
            (folder / name).unlink(missing_ok=True)
        except OSError as error:
            logger.warning("%s stays behind: %s", folder / name, error)
