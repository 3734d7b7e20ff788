"""multipart/form-data as it comes: its one file goes to the store, its fields are kept."""

from collections.abc import Iterator

from python_multipart.exceptions import FormParserError
from python_multipart.multipart import MultipartParser, parse_options_header
from starlette.requests import ClientDisconnect, Request

from sgjax.errors import InvalidRequest
from sgjax_server.batches.errors import FileTooLarge
from sgjax_server.batches.file_store import FileStore
from sgjax_server.batches.new_file import MAX_FILE_BYTES, NewFile
from sgjax_server.errors import BodyError, ClientGone

MAX_FIELD_BYTES = 4096
MAX_FIELDS = 16


class Upload:
    """A form with a file. Whoever has it must keep or discard the file."""

    def __init__(self, fields: dict[str, str], filename: str, file: NewFile):
        self.fields = fields
        self.filename = filename
        self.file = file


async def read_upload(request: Request, store: FileStore) -> Upload:
    """Reads a form whose file is the part `file`.

    Raises:
        BodyError, InvalidRequest: it is no such form.
        FileTooLarge, StorageFull, StorageFailed: the file cannot be kept.
        ClientGone: the client went away before its end.
    """
    parts = _Parts(_boundary(request))
    _check_announced(request)
    form = _Form(store)
    try:
        async for data in request.stream():
            for event in parts.feed(data):
                await form.take(event)
        if not parts.are_over:
            raise InvalidRequest("The form ends before its last boundary.")
        return form.upload()
    except BaseException as error:
        form.discard()
        if isinstance(error, ClientDisconnect):
            raise ClientGone from None
        raise


def _boundary(request: Request) -> bytes:
    kind, options = parse_options_header(request.headers.get("content-type"))
    if kind != b"multipart/form-data":
        raise BodyError(
            415,
            "A file is sent as 'Content-Type: multipart/form-data', with the parts `file` and "
            f"`purpose`, not as {kind.decode(errors='replace')[:80]!r}.",
            "unsupported_media_type",
        )
    boundary = options.get(b"boundary", b"")
    if not 0 < len(boundary) <= 256:
        raise InvalidRequest("The form's Content-Type must name a boundary.")
    return boundary


def _check_announced(request: Request) -> None:
    announced = request.headers.get("content-length", "0")
    around = MAX_FIELDS * (MAX_FIELD_BYTES + 2**13)  # fields, headers of parts, boundaries
    if announced.isdigit() and int(announced) > MAX_FILE_BYTES + around:
        raise FileTooLarge(f"A file may have at most {MAX_FILE_BYTES // 2**20} MiB.", param="file")


class _Form:
    """What is known of a form so far."""

    def __init__(self, store: FileStore):
        self._store = store
        self._fields: dict[str, bytearray] = {}
        self._file: NewFile | None = None
        self._filename = ""
        self._name = ""

    async def take(self, event: "dict[bytes, bytes] | bytes") -> None:
        """The beginning of a part (what its headers say of it), or bytes of the one begun."""
        if isinstance(event, dict):
            self._begin(event)
        elif self._name == "file":
            assert self._file is not None
            await self._file.write(event)
        else:
            value = self._fields[self._name]
            value += event
            if len(value) > MAX_FIELD_BYTES:
                raise InvalidRequest(
                    f"The field {self._name[:80]!r} is longer than {MAX_FIELD_BYTES} bytes.",
                    param=self._name[:80],
                )

    def upload(self) -> Upload:
        if self._file is None:
            raise InvalidRequest("The form has no part `file`.", param="file")
        try:
            fields = {name: bytes(value).decode() for name, value in self._fields.items()}
        except UnicodeDecodeError:
            raise InvalidRequest("The fields of a form must be UTF-8.") from None
        return Upload(fields, self._filename, self._file)

    def discard(self) -> None:
        if self._file is not None:
            self._file.discard()

    def _begin(self, said: dict[bytes, bytes]) -> None:
        self._name = said.get(b"name", b"").decode(errors="replace")
        if self._name != "file":
            if self._name in self._fields or len(self._fields) >= MAX_FIELDS:
                raise InvalidRequest(
                    f"A form has at most {MAX_FIELDS} fields, each of them once.",
                    param=self._name[:80],
                )
            self._fields[self._name] = bytearray()
            return
        if self._file is not None:
            raise InvalidRequest("A form brings one file, and this one has two.", param="file")
        if b"filename" not in said:
            raise InvalidRequest("The part `file` must be a file, with a name.", param="file")
        self._filename = said[b"filename"].decode(errors="replace")
        self._file = self._store.create()


class _Parts:
    """The bytes of a form as events, see `_Form.take`."""

    def __init__(self, boundary: bytes):
        self.are_over = False
        self._events: list[dict[bytes, bytes] | bytes] = []
        self._header, self._value = b"", b""
        self._said: dict[bytes, bytes] = {}
        self._parser = MultipartParser(
            boundary,
            {
                "on_part_begin": self._begin_part,
                "on_header_field": self._add_to_header,
                "on_header_value": self._add_to_value,
                "on_header_end": self._end_header,
                "on_headers_finished": lambda: self._events.append(self._said),
                "on_part_data": lambda data, start, end: self._events.append(data[start:end]),
                "on_end": self._end,
            },
        )

    def feed(self, data: bytes) -> Iterator[dict[bytes, bytes] | bytes]:
        try:
            self._parser.write(data)
        except FormParserError as error:
            raise InvalidRequest(f"The form is not multipart/form-data: {error}.") from None
        events, self._events = self._events, []
        return iter(events)

    def _begin_part(self) -> None:
        self._said = {}

    def _add_to_header(self, data: bytes, start: int, end: int) -> None:
        self._header += data[start:end]

    def _add_to_value(self, data: bytes, start: int, end: int) -> None:
        self._value += data[start:end]

    def _end_header(self) -> None:
        if self._header.lower() == b"content-disposition":
            _, self._said = parse_options_header(self._value)
        self._header = self._value = b""

    def _end(self) -> None:
        self.are_over = True
