"""/v1/files, by the real openai client and by hand."""

import asyncio
import errno
import http.client
import os
import stat
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import openai
import pytest
from sgjax_server.batches import new_file
from sgjax_server.batches.file_store import FileStore
from sgjax_server.batches.new_file import NewFile

from sgjax.errors import ConfigError
from tests.server.live import Live, live


@pytest.fixture(autouse=True)
def no_file_stays(shared_server: Live) -> Iterator[None]:
    yield
    files = shared_server.service.files
    for file in files.list():
        files.delete(file.id)
    assert files._num_bytes == files._num_parts == 0


def upload(ai: openai.OpenAI, content: bytes = b"{}\n", name: str = "in.jsonl", **more: Any):
    return ai.files.create(file=(name, content), purpose="batch", **more)


def test_a_file_comes_back_as_it_was_sent(ai: openai.OpenAI) -> None:
    content = os.urandom(300_000) + b"\r\n--boundary\r\n"
    file = upload(ai, content)
    assert file.id.startswith("file-") and (file.object, file.purpose) == ("file", "batch")
    assert (file.bytes, file.filename, file.status) == (len(content), "in.jsonl", "processed")
    assert ai.files.retrieve(file.id) == file
    assert ai.files.content(file.id).read() == content
    assert ai.files.delete(file.id).deleted
    for gone in (ai.files.retrieve, ai.files.content, ai.files.delete):
        with pytest.raises(openai.NotFoundError) as caught:
            gone(file.id)
        assert caught.value.code == "not_found" and file.id in caught.value.message


def test_an_empty_file_is_a_file(ai: openai.OpenAI) -> None:
    file = upload(ai, b"")
    assert file.bytes == 0 and ai.files.content(file.id).read() == b""


def test_lists_come_in_pages(ai: openai.OpenAI) -> None:
    ids = [upload(ai, name=f"{i}").id for i in range(5)]
    other = ai.files.create(file=b"x", purpose="user_data").id
    assert [file.id for file in ai.files.list(purpose="batch")] == ids[::-1]
    assert [file.id for file in ai.files.list(order="asc")] == [*ids, other]
    assert [file.id for file in ai.files.list(order="asc", limit=2)] == [*ids, other]
    page = ai.files.list(order="asc", limit=2, after=ids[1])
    assert [file.id for file in page.data] == ids[2:4] and page.has_more
    with pytest.raises(openai.BadRequestError):
        ai.files.list(after="file-none")


def test_the_asynchronous_client_is_served_too(server: Live) -> None:
    async def work() -> None:
        async with openai.AsyncOpenAI(base_url=f"{server.url}/v1", api_key="x") as ai:
            file = await ai.files.create(file=b"a", purpose="batch")
            assert (await ai.files.content(file.id)).read() == b"a"

    asyncio.run(work())


@pytest.mark.parametrize(
    "name", ["../../etc/passwd", "/etc/passwd", "a\0b", "ä👋.jsonl", 'a"b', "..", "x" * 3000]
)
def test_a_name_is_only_a_name(server: Live, ai: openai.OpenAI, name: str) -> None:
    """Whatever it is, nothing appears but a file of ours in our folder."""
    file = upload(ai, b"a", name)
    folder = server.service.files._made_folder()
    assert sorted(path.name for path in folder.iterdir()) == [file.id, f"{file.id}.json"]
    assert stat.S_IMODE(folder.stat().st_mode) == 0o700
    assert ai.files.retrieve(file.id).filename == file.filename
    assert ai.files.content(file.id).read() == b"a"


@pytest.mark.parametrize("path", ["../lock", "..%2f..%2fetc%2fpasswd", "file-", "%00", "a" * 9000])
def test_an_id_is_no_path(http: httpx.Client, path: str) -> None:
    for answer in (http.get(f"/v1/files/{path}"), http.get(f"/v1/files/{path}/content")):
        assert answer.status_code == 404
        assert answer.json()["error"]["type"] == "invalid_request_error"


def form(*parts: tuple[str, bytes], end: bool = True) -> bytes:
    body = b"".join(
        b"--B\r\nContent-Disposition: form-data; " + said.encode() + b"\r\n\r\n" + data + b"\r\n"
        for said, data in parts
    )
    return body + b"--B--\r\n" * end


FILE = ('name="file"; filename="f"', b"abc")
PURPOSE = ('name="purpose"', b"batch")
KIND = "multipart/form-data; boundary=B"


@pytest.mark.parametrize(
    ("body", "kind", "status", "param", "says"),
    [
        (b"{}", "application/json", 415, None, "multipart/form-data"),
        (b"", "", 415, None, "multipart/form-data"),
        (b"", "multipart/form-data", 400, None, "boundary"),
        (b"", KIND, 400, None, "ends before"),
        (b"rubbish", KIND, 400, None, "not multipart"),
        (form(FILE, PURPOSE, end=False), KIND, 400, None, "ends before"),
        (form(PURPOSE), KIND, 400, "file", "no part `file`"),
        (form(FILE), KIND, 400, "purpose", "must be one of"),
        (form(FILE, ('name="purpose"', b"evil")), KIND, 400, "purpose", "not 'evil'"),
        (form(FILE, ('name="purpose"', b"\xff")), KIND, 400, None, "UTF-8"),
        (form(FILE, ('name="purpose"', b"x" * 5000)), KIND, 400, "purpose", "longer than"),
        (form(FILE, PURPOSE, PURPOSE), KIND, 400, "purpose", "each of them once"),
        (form(FILE, FILE, PURPOSE), KIND, 400, "file", "has two"),
        (form(('name="file"', b"a"), PURPOSE), KIND, 400, "file", "with a name"),
        (form(*((f'name="{i}"', b"") for i in range(20))), KIND, 400, "16", "at most 16"),
        (
            form(FILE, PURPOSE, ('name="expires_after[seconds]"', b"5")),
            KIND,
            400,
            "expires_after",
            "3600",
        ),
    ],
)
def test_a_bad_form_leaves_nothing(
    server: Live, http: httpx.Client, body: bytes, kind: str, status: int, param: Any, says: str
) -> None:
    answer = http.post("/v1/files", content=body, headers={"content-type": kind})
    error = answer.json()["error"]
    assert (answer.status_code, error["param"]) == (status, param), error
    assert says in error["message"]
    assert server.service.files.list() == []
    folder = server.service.files._folder
    assert folder is None or list(folder.iterdir()) == []


def test_a_form_may_come_byte_by_byte(http: httpx.Client, ai: openai.OpenAI) -> None:
    body = form(PURPOSE, FILE)
    pieces = (body[i : i + 1] for i in range(len(body)))
    answer = http.post("/v1/files", content=pieces, headers={"content-type": KIND})
    assert ai.files.content(answer.json()["id"]).read() == b"abc"


def test_too_large_a_file_is_refused(ai: openai.OpenAI, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(new_file, "MAX_FILE_BYTES", 1000)
    with pytest.raises(openai.APIStatusError) as caught:
        upload(ai, b"a" * 1001)
    assert (caught.value.status_code, caught.value.code) == (413, "too_large")
    assert upload(ai, b"a" * 1000).bytes == 1000


def test_too_large_a_file_is_refused_before_it_is_read(server: Live) -> None:
    connection = http.client.HTTPConnection(server.url.removeprefix("http://"), timeout=10)
    connection.putrequest("POST", "/v1/files")
    connection.putheader("Content-Type", KIND)
    connection.putheader("Content-Length", str(10**9))
    connection.endheaders()
    assert connection.getresponse().status == 413
    connection.close()


def test_what_is_kept_is_bounded(
    server: Live, ai: openai.OpenAI, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(server.service.files, "_max_bytes", 1000)
    monkeypatch.setattr(server.service.files, "_max_files", 2)
    first = upload(ai, b"a" * 600)
    with pytest.raises(openai.BadRequestError) as caught:
        upload(ai, b"a" * 600)
    assert caught.value.code == "storage_full" and "1000 bytes" in caught.value.message
    upload(ai, b"a" * 400)
    with pytest.raises(openai.BadRequestError) as caught:
        upload(ai, b"")
    assert caught.value.code == "storage_full" and "2 files" in caught.value.message
    ai.files.delete(first.id)
    upload(ai, b"a" * 600)


@pytest.mark.parametrize("method", ["write", "_finish"])
def test_a_full_disk_is_said_and_hurts_nothing_else(
    server: Live,
    ai: openai.OpenAI,
    http: httpx.Client,
    monkeypatch: pytest.MonkeyPatch,
    method: str,
) -> None:
    def fails(*_: Any) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    class Part:
        def __init__(self, part: Any):
            self.name, self.close = part.name, part.close
            self.write = fails if method == "write" else part.write

    with monkeypatch.context() as patch:
        made = NewFile.__init__
        patch.setattr(NewFile, "__init__", lambda new, s, i, part: made(new, s, i, Part(part)))
        if method == "_finish":
            patch.setattr(NewFile, "_finish", fails)
        with pytest.raises(openai.InternalServerError) as caught:
            upload(ai)
    assert caught.value.status_code == 507
    assert "No space left" in caught.value.message
    assert list(server.service.files._made_folder().iterdir()) == []
    assert http.post("/generate", json={"text": "a"}).status_code == 200
    assert upload(ai).bytes == 3


def test_a_client_that_goes_away_leaves_nothing(server: Live) -> None:
    def half() -> Iterator[bytes]:
        yield form(FILE, PURPOSE, end=False)
        server.wait_until(lambda: server.service.files._num_parts == 1, "a part")
        raise ConnectionError

    with pytest.raises(ConnectionError):
        httpx.post(f"{server.url}/v1/files", content=half(), headers={"content-type": KIND})
    server.wait_until(lambda: server.service.files._num_parts == 0, "its end")
    assert list(server.service.files._made_folder().iterdir()) == []


def test_a_file_that_is_deleted_is_still_read_to_its_end(server: Live, ai: openai.OpenAI) -> None:
    content = os.urandom(1 << 22)
    file = upload(ai, content)
    with ai.files.with_streaming_response.content(file.id) as answer:
        ai.files.delete(file.id)
        assert b"".join(answer.iter_bytes()) == content


def test_a_file_goes_when_it_was_said_to(server: Live, ai: openai.OpenAI, monkeypatch) -> None:
    stays = upload(ai)
    file = upload(ai, expires_after={"anchor": "created_at", "seconds": 3600})
    assert file.expires_at == file.created_at + 3600
    monkeypatch.setattr(server.service.files, "_clock", lambda: file.created_at + 3600)
    assert [each.id for each in ai.files.list()] == [stays.id]
    assert len(list(server.service.files._made_folder().iterdir())) == 2


def test_a_named_folder_keeps_its_files_and_serves_one_server(tmp_path: Path) -> None:
    folder = tmp_path / "deep" / "folder"
    with live(file_storage_path=str(folder)) as server:
        ai = openai.OpenAI(base_url=f"{server.url}/v1", api_key="x")
        file = upload(ai, b"abc", expires_after={"anchor": "created_at", "seconds": 7200})
        with pytest.raises(ConfigError, match="in use by another server"):
            FileStore(folder)
    (folder / "file-half.part").write_bytes(b"half")
    (folder / "file-damaged.json").write_bytes(b"{")
    with live(file_storage_path=str(folder)) as server:
        ai = openai.OpenAI(base_url=f"{server.url}/v1", api_key="x")
        assert ai.files.list().data == [file]
        assert ai.files.content(file.id).read() == b"abc"
        ai.files.delete(file.id)
    assert sorted(path.name for path in folder.iterdir()) == ["file-damaged.json", "lock"]


def test_a_folder_that_cannot_be_is_an_error_of_the_options(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(ConfigError, match=r"--file-storage-path .*cannot be used"):
        FileStore(tmp_path / "file")


def test_a_temporary_folder_goes_with_the_server() -> None:
    with live() as server:
        ai = openai.OpenAI(base_url=f"{server.url}/v1", api_key="x")
        upload(ai)
        folder = server.service.files._made_folder()
        assert folder.is_dir()
    assert not folder.exists()


def test_discarding_twice_gives_back_once(tmp_path: Path) -> None:
    async def work() -> None:
        store = FileStore(tmp_path)
        new = store.create()
        await new.write(b"abc")
        new.discard()
        new.discard()
        assert (store._num_bytes, store._num_parts) == (0, 0)
        store.close()

    asyncio.run(work())
