"""Files between a machine and the panel, which go on where they broke off."""

import hashlib
import json
from collections.abc import AsyncIterator, Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest

from kodosumi_prefect.client import (
    Client,
    DamagedError,
    LocalFile,
    StoredFile,
    UnreachableError,
)
from kodosumi_prefect.client.transfer import CHUNK, PARTIAL, PIECE, Resumed
from tests.panel.panel_runs import Run, Stand
from tests.panel.test_panel_files import Files

CONTENT = bytes(range(256)) * (3 * PIECE // 256) + b"end"
LARGE = bytes(range(255)) * (2 * CHUNK // 255) + b"x" * 1000  # three chunks


@pytest.fixture
def run(panel: Stand) -> Run:
    return panel.run(owner=panel.json("/role")[0]["id"]).begin()


@pytest.fixture
def client(panel: Stand) -> Iterator[Client]:
    with Client(panel.url, key=panel.token, patience=0) as made:
        yield made


class Wire:
    """What goes over the wire: requests, and where it breaks."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.requests: list[httpx.Request] = []
        self.pieces: int | None = None  # of an answer, until it breaks off
        self.chunks: int | None = None  # that are sent, until it does
        real_send, real_pieces = httpx.AsyncClient.send, httpx.Response.aiter_bytes

        async def send(
            client: httpx.AsyncClient, request: httpx.Request, **options: Any
        ) -> httpx.Response:
            if request.url.path == "/files/chunk":
                if self.chunks == 0:
                    raise httpx.WriteError("the network is gone")
                self.chunks = None if self.chunks is None else self.chunks - 1
            self.requests.append(request)
            return await real_send(client, request, **options)

        async def pieces(response: httpx.Response, size: int | None = None) -> AsyncIterator[bytes]:
            number = 0
            async for piece in real_pieces(response, size):
                if number == self.pieces:
                    raise httpx.ReadError("the network is gone")
                yield piece
                number += 1

        monkeypatch.setattr(httpx.AsyncClient, "send", send)
        monkeypatch.setattr(httpx.Response, "aiter_bytes", pieces)

    def sent(self, path: str) -> list[httpx.Request]:
        """The requests for a path since this was asked last."""
        found = [each for each in self.requests if each.url.path.startswith(path)]
        self.requests.clear()
        return found


@pytest.fixture
def wire(monkeypatch: pytest.MonkeyPatch) -> Wire:
    return Wire(monkeypatch)


class Download:
    """A file of an execution that is got again and again."""

    def __init__(self, client: Client, run: Run, folder: Path) -> None:
        self.client = client
        self.run = run
        self.target = folder / "a.bin"
        self.advanced: list[int] = []

    @property
    def listed(self) -> StoredFile:
        return self.client.files(self.run.fid, "out")[0]

    @property
    def partial(self) -> Path:
        return self.target.with_name(f"a.bin.{self.listed.sha256[:8]}{PARTIAL}")

    def get(self, listed: StoredFile | None = None) -> None:
        self.advanced.clear()
        file, tell = listed or self.listed, self.advanced.append
        self.client.download(self.run.fid, file, self.target, advance=tell)


@pytest.fixture
def download(panel: Stand, client: Client, run: Run, tmp_path: Path) -> Download:
    Files(panel.client).put(run.fid, "out/a.bin", CONTENT)
    return Download(client, run, tmp_path)


def test_a_download_goes_on_where_it_broke_off(download: Download, wire: Wire) -> None:
    wire.pieces = 2
    with pytest.raises(UnreachableError, match="the network is gone"):
        download.get()
    assert not download.target.exists()
    assert download.partial.read_bytes() == CONTENT[: 2 * PIECE]
    wire.pieces = None
    wire.requests.clear()
    download.get()
    [asked] = wire.sent(f"/files/{download.run.fid}/out/a.bin")
    assert asked.headers["range"] == f"bytes={2 * PIECE}-"
    assert asked.headers["if-range"] == f'"{hashlib.sha256(CONTENT).hexdigest()}"'
    assert download.target.read_bytes() == CONTENT
    assert sum(download.advanced) == len(CONTENT)
    assert [each.name for each in download.target.parent.iterdir()] == ["a.bin"]


def test_what_is_whole_already_is_only_looked_at(download: Download, wire: Wire) -> None:
    download.partial.write_bytes(CONTENT)
    wire.requests.clear()
    download.get()
    assert wire.sent(f"/files/{download.run.fid}/out/a.bin") == []
    assert (download.target.read_bytes(), sum(download.advanced)) == (CONTENT, len(CONTENT))


def test_what_is_damaged_is_refused_and_got_again(download: Download) -> None:
    for there in (b"y" * len(CONTENT), b"y" * PIECE):
        download.partial.write_bytes(there)
        with pytest.raises(DamagedError, match="did not come as it was stored; get it again"):
            download.get()
        assert not download.target.exists()
        download.get()
        assert download.target.read_bytes() == CONTENT
        download.target.unlink()
    download.partial.write_bytes(CONTENT + b"longer")
    download.get()
    assert download.target.read_bytes() == CONTENT


def test_a_file_that_was_replaced_meanwhile_is_not_mixed(
    download: Download, panel: Stand, wire: Wire
) -> None:
    listed = download.listed
    download.partial.write_bytes(CONTENT[:PIECE])
    Files(panel.client).put(download.run.fid, "out/a.bin", b"another one")
    with pytest.raises(DamagedError, match="did not come as it was stored"):
        download.get(listed)
    download.get()
    assert download.target.read_bytes() == b"another one"


class Upload:
    """A folder that is put again and again, each time as by another process."""

    def __init__(self, client: Client, panel: Stand, run: Run, folder: Path) -> None:
        self.client = client
        self.panel = panel
        self.run = run
        self.notes = folder / "notes"
        (folder / "large.bin").write_bytes(LARGE)
        (folder / "small.txt").write_bytes(b"small")
        self.files = [LocalFile(name, folder / name) for name in ("large.bin", "small.txt")]

    @property
    def resumed(self) -> Resumed:
        return Resumed(self.notes, self.run.fid, "in", self.files)

    def put(self, client: Client | None = None) -> None:
        (client or self.client).upload(self.run.fid, self.files, "in", notes=self.notes)


@pytest.fixture
def upload(client: Client, panel: Stand, run: Run, tmp_path: Path) -> Upload:
    return Upload(client, panel, run, tmp_path)


def numbers(requests: list[httpx.Request]) -> list[str]:
    """The numbers of chunks that were sent."""
    found = []
    for request in requests:
        head = request.read()[:400].decode("latin-1")
        found.append(head.partition('name="chunk_number"\r\n\r\n')[2].partition("\r\n")[0])
    return found


def test_an_upload_goes_on_with_what_the_panel_has(upload: Upload, wire: Wire) -> None:
    wire.chunks = 2
    with pytest.raises(UnreachableError, match="the network is gone"):
        upload.put()
    begun = upload.resumed.begun
    assert list(begun) == ["large.bin"]
    there = upload.client.request("GET", f"/files/upload/{begun['large.bin']}")["chunks"]
    assert len(there) == 2
    wire.chunks = None
    wire.requests.clear()
    upload.put()
    left = sorted({"0", "1", "2"} - set(map(str, there)))
    assert numbers(wire.sent("/files/chunk")) == [*left, "0"]  # and the one of small.txt
    answer = upload.panel.client.get(f"/files/{upload.run.fid}/in/large.bin")
    assert answer.content == LARGE
    assert upload.resumed.batch == ""


def test_a_panel_that_is_away_does_not_have_it_begin_anew(upload: Upload, wire: Wire) -> None:
    wire.chunks = 1
    with pytest.raises(UnreachableError):
        upload.put()
    before = upload.resumed.begun
    with Client("http://127.0.0.1:9", key="k", patience=0) as away, pytest.raises(UnreachableError):
        upload.put(away)
    assert upload.resumed.begun == before != {}


def test_what_the_panel_forgot_is_sent_anew(upload: Upload, wire: Wire) -> None:
    wire.chunks = 2
    with pytest.raises(UnreachableError):
        upload.put()
    [id_] = upload.resumed.begun.values()
    upload.client.request("DELETE", f"/files/cancel/{id_}")
    wire.chunks = None
    wire.requests.clear()
    upload.put()
    assert len(wire.sent("/files/chunk")) == 4
    assert upload.panel.client.get(f"/files/{upload.run.fid}/in/small.txt").content == b"small"


def test_a_changed_file_and_a_torn_note_begin_anew(upload: Upload, wire: Wire) -> None:
    wire.chunks = 2
    with pytest.raises(UnreachableError):
        upload.put()
    [note] = upload.notes.iterdir()
    whole = note.read_text()
    note.write_text(whole[:-10])
    assert upload.resumed.batch == "" and not note.exists()
    note.write_text(whole)
    assert upload.resumed.batch == json.loads(whole.splitlines()[0])
    upload.files[1].source.write_bytes(b"changed")
    assert upload.resumed.batch == ""
