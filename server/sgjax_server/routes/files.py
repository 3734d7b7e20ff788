"""/v1/files: what clients send for batches, and what batches write."""

import asyncio
from collections.abc import AsyncIterator
from typing import Annotated, Any, BinaryIO, Literal

from fastapi import APIRouter, Query, Request
from starlette.responses import Response, StreamingResponse
from starlette.types import Receive, Scope, Send

from sgjax.errors import InvalidRequest
from sgjax_server.answers.files import DeletedFile, File, FileList
from sgjax_server.answers.form import errors
from sgjax_server.batches.stored_file import StoredFile
from sgjax_server.batches.upload import Upload, read_upload
from sgjax_server.errors import Json
from sgjax_server.listing import Cursor, page
from sgjax_server.service import ServiceOf

router = APIRouter()

PURPOSES = ("assistants", "batch", "fine-tune", "vision", "user_data", "evals")
LIFETIME_S = (3600, 2592000)
"""The bounds of expires_after, in seconds."""
MAX_PAGE = 10_000
_BLOCK_BYTES = 1 << 16

_FORM = {
    "required": True,
    "content": {
        "multipart/form-data": {
            "schema": {
                "type": "object",
                "required": ["file", "purpose"],
                "properties": {
                    "file": {"type": "string", "format": "binary"},
                    "purpose": {"type": "string", "enum": list(PURPOSES)},
                    "expires_after[anchor]": {"type": "string", "enum": ["created_at"]},
                    "expires_after[seconds]": {
                        "type": "integer",
                        "minimum": LIFETIME_S[0],
                        "maximum": LIFETIME_S[1],
                    },
                },
                "dependentRequired": {
                    "expires_after[anchor]": ["expires_after[seconds]"],
                    "expires_after[seconds]": ["expires_after[anchor]"],
                },
            }
        }
    },
}
_BYTES = {"application/octet-stream": {"schema": {"type": "string", "format": "binary"}}}


@router.post(
    "/v1/files",
    response_model=File,
    responses=errors(400, 413, 415, 503, 507),
    openapi_extra={"requestBody": _FORM},
)
async def create_file(request: Request, service: ServiceOf) -> Response:
    """Takes a file in multipart/form-data, with its `purpose`."""
    service.check_open()
    upload = await read_upload(request, service.files)
    try:
        purpose, lifetime_s = _purpose(upload), _lifetime(upload)
    except InvalidRequest:
        upload.file.discard()
        raise
    file = await upload.file.keep(upload.filename, purpose, lifetime_s)
    return Json(_to_dict(file))


@router.get("/v1/files", response_model=FileList, responses=errors(400))
async def list_files(
    service: ServiceOf,
    after: Cursor = None,
    limit: Annotated[int, Query(ge=1, le=MAX_PAGE)] = MAX_PAGE,
    order: Literal["asc", "desc"] = "desc",
    purpose: Annotated[str | None, Query(max_length=64)] = None,
) -> Response:
    files = [file for file in service.files.list() if purpose in (None, file.purpose)]
    if order == "desc":
        files.reverse()
    return Json(page([_to_dict(file) for file in files], after, limit))


@router.get("/v1/files/{file_id}", response_model=File, responses=errors(404))
async def get_file(file_id: str, service: ServiceOf) -> Response:
    return Json(_to_dict(service.files.get(file_id)))


@router.delete("/v1/files/{file_id}", response_model=DeletedFile, responses=errors(404))
async def delete_file(file_id: str, service: ServiceOf) -> Response:
    """Deletes a file. A batch that reads it goes on."""
    service.files.delete(file_id)
    return Json({"id": file_id, "object": "file", "deleted": True})


@router.get(
    "/v1/files/{file_id}/content",
    response_class=Response,
    responses=errors(404, 507) | {200: {"content": _BYTES}},
)
async def get_file_content(file_id: str, service: ServiceOf) -> Response:
    """The file's bytes."""
    file = service.files.get(file_id)
    return FileContent(service.files.open(file), file.bytes)


class FileContent(StreamingResponse):
    """Bytes of a file that is open, and closed with the response."""

    def __init__(self, file: BinaryIO, num_bytes: int):
        headers = {"content-length": str(num_bytes), "content-disposition": "attachment"}
        super().__init__(_blocks(file), media_type="application/octet-stream", headers=headers)
        self._file = file

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        with self._file:
            await super().__call__(scope, receive, send)


async def _blocks(file: BinaryIO) -> AsyncIterator[bytes]:
    while block := await asyncio.to_thread(file.read, _BLOCK_BYTES):
        yield block


def _purpose(upload: Upload) -> str:
    purpose = upload.fields.get("purpose", "")
    if purpose not in PURPOSES:
        raise InvalidRequest(
            f"purpose must be one of {', '.join(PURPOSES)}, not {purpose[:80]!r}.", param="purpose"
        )
    return purpose


def _lifetime(upload: Upload) -> int | None:
    """The seconds of expires_after; None if the file stays."""
    anchor = upload.fields.get("expires_after[anchor]")
    seconds = upload.fields.get("expires_after[seconds]")
    if anchor is None and seconds is None:
        return None
    low, high = LIFETIME_S
    is_number = seconds is not None and seconds.isascii() and seconds.isdigit()
    if anchor != "created_at" or not is_number or not low <= int(seconds or 0) <= high:
        raise InvalidRequest(
            "expires_after needs the anchor 'created_at' and seconds: an integer in "
            f"[{low}, {high}].",
            param="expires_after",
        )
    return int(seconds or 0)


def _to_dict(file: StoredFile) -> dict[str, Any]:
    return {
        "id": file.id,
        "object": "file",
        "bytes": file.bytes,
        "created_at": file.created_at,
        "expires_at": file.expires_at,
        "filename": file.filename,
        "purpose": file.purpose,
        "status": "processed",
        "status_details": None,
    }
