"""Files between a machine and the panel by the command line, which goes on where it broke off."""

import hashlib
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest

from kodosumi_prefect.cli.files import _listed
from kodosumi_prefect.cli.output import CommandError
from kodosumi_prefect.cli.panel_client import KEY_VARIABLE, Panel
from kodosumi_prefect.cli.transfer import (
    CHUNK,
    PARTIAL,
    PIECE,
    LocalFile,
    Resumed,
    fetch,
    give,
)
from tests.panel.panel_runs import Run, Stand
from tests.panel.test_panel_files import Files

CONTENT = bytes(range(256)) * (3 * PIECE // 256) + b"end"
LARGE = bytes(range(255)) * (2 * CHUNK // 255) + b"x" * 1000  # three chunks


@pytest.fixture
def run(panel: Stand) -> Run:
    return panel.run(owner=panel.json("/role")[0]["id"]).begin()


@pytest.fixture
def client(panel: Stand, monkeypatch: pytest.MonkeyPatch) -> Iterator[Panel]:
    monkeypatch.setenv(KEY_VARIABLE, panel.token)
    with Panel(panel.settings.model_copy(update={"panel_url": panel.url})) as made:
        yield made


class Wire:
    """What goes over the wire: requests, and where it breaks."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.requests: list[httpx.Request] = []
        self.pieces: int | None = None  # of an answer, until it breaks off
        self.chunks: int | None = None  # that are sent, until it does
        real_send, real_pieces = httpx.Client.send, httpx.Response.iter_bytes

        def send(client: httpx.Client, request: httpx.Request, **options: Any) -> httpx.Response:
            if request.url.path == "/files/chunk":
                if self.chunks == 0:
                    raise httpx.WriteError("the network is gone")
                self.chunks = None if self.chunks is None else self.chunks - 1
            self.requests.append(request)
            return real_send(client, request, **options)

        def pieces(response: httpx.Response, size: int | None = None) -> Iterator[bytes]:
            for number, piece in enumerate(real_pieces(response, size)):
                if number == self.pieces:
                    raise httpx.ReadError("the network is gone")
                yield piece

        monkeypatch.setattr(httpx.Client, "send", send)
        monkeypatch.setattr(httpx.Response, "iter_bytes", pieces)

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

    def __init__(self, client: Panel, run: Run, folder: Path) -> None:
        self.client = client
        self.run = run
        self.target = folder / "a.bin"
        self.advanced: list[int] = []

    @property
    def listed(self) -> dict[str, Any]:
        return _listed(self.client, self.run.fid, "out")[0]

    @property
    def partial(self) -> Path:
        return self.target.with_name(f"a.bin.{self.listed['sha256'][:8]}{PARTIAL}")

    def get(self, listed: dict[str, Any] | None = None) -> None:
        self.advanced.clear()
        file = listed or self.listed
        fetch(self.client, self.run.fid, file, self.target, self.advanced.append)


@pytest.fixture
def download(panel: Stand, client: Panel, run: Run, tmp_path: Path) -> Download:
    Files(panel.client).put(run.fid, "out/a.bin", CONTENT)
    return Download(client, run, tmp_path)


def test_a_download_goes_on_where_it_broke_off(download: Download, wire: Wire) -> None:
    wire.pieces = 2
    with pytest.raises(CommandError, match="the network is gone"):
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
        with pytest.raises(CommandError, match="did not come as it was stored; get it again"):
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
    with pytest.raises(CommandError, match="did not come as it was stored"):
        download.get(listed)
    download.get()
    assert download.target.read_bytes() == b"another one"


class Upload:
    """A folder that is put again and again, each time as by another process."""

    def __init__(self, client: Panel, panel: Stand, run: Run, folder: Path) -> None:
        self.client = client
        self.panel = panel
        self.run = run
        (folder / "large.bin").write_bytes(LARGE)
        (folder / "small.txt").write_bytes(b"small")
        self.files = [LocalFile(name, folder / name) for name in ("large.bin", "small.txt")]

    @property
    def resumed(self) -> Resumed:
        return Resumed(self.panel.settings.data_dir, self.run.fid, "in", self.files)

    def put(self, client: Panel | None = None) -> None:
        give(client or self.client, self.run.fid, "in", self.files)


@pytest.fixture
def upload(client: Panel, panel: Stand, run: Run, tmp_path: Path) -> Upload:
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
    with pytest.raises(CommandError, match="the network is gone"):
        upload.put()
    begun = upload.resumed.begun
    assert list(begun) == ["large.bin"]
    there = upload.client.ask("GET", f"/files/upload/{begun['large.bin']}")["chunks"]
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
    with pytest.raises(CommandError):
        upload.put()
    before = upload.resumed.begun
    away = Panel(upload.panel.settings.model_copy(update={"panel_url": "http://127.0.0.1:9"}))
    with away, pytest.raises(CommandError, match="does not answer"):
        upload.put(away)
    assert upload.resumed.begun == before != {}


def test_what_the_panel_forgot_is_sent_anew(upload: Upload, wire: Wire) -> None:
    wire.chunks = 2
    with pytest.raises(CommandError):
        upload.put()
    [id_] = upload.resumed.begun.values()
    upload.client.ask("DELETE", f"/files/cancel/{id_}")
    wire.chunks = None
    wire.requests.clear()
    upload.put()
    assert len(wire.sent("/files/chunk")) == 4
    assert upload.panel.client.get(f"/files/{upload.run.fid}/in/small.txt").content == b"small"


def test_a_changed_file_and_a_torn_note_begin_anew(upload: Upload, wire: Wire) -> None:
    wire.chunks = 2
    with pytest.raises(CommandError):
        upload.put()
    notes = (upload.panel.settings.data_dir / "sending").iterdir()
    [note] = [each for each in notes if upload.resumed.batch in each.read_text()]
    whole = note.read_text()
    note.write_text(whole[:-10])
    assert upload.resumed.batch == "" and not note.exists()
    note.write_text(whole)
    assert upload.resumed.batch == json.loads(whole.splitlines()[0])
    upload.files[1].source.write_bytes(b"changed")
    assert upload.resumed.batch == ""
