"""Files over HTTP: sent in chunks, completed into an execution, listed, downloaded, removed."""

import asyncio
import hashlib
import json
import socket
import threading
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Any
from uuid import uuid4

import httpx
import psycopg
import pytest

from kodosumi_prefect.database.rows.files import Upload
from kodosumi_prefect.files import uploads as uploads_module
from kodosumi_prefect.files.storage import storage_of
from kodosumi_prefect.panel.files.depot import Depot
from kodosumi_prefect.settings import Settings
from tests.panel.panel_runs import Person, Run, Stand
from tests.waiting import wait_for

MIB = 1024**2


class Files:
    """What somebody does with files over HTTP."""

    def __init__(self, client: httpx.Client) -> None:
        self.client = client

    def batch(self) -> str:
        made = self.client.post("/files/init_batch")
        assert made.status_code == 201
        assert made.json().keys() == {"batch_id"}
        return str(made.json()["batch_id"])

    def init(self, name: str, chunks: int = 1, **more: Any) -> httpx.Response:
        body = {"filename": name, "total_chunks": chunks, **more}
        return self.client.post("/files/init", json=body)

    def begin(self, name: str, chunks: int = 1, **more: Any) -> str:
        made = self.init(name, chunks, **more)
        assert made.status_code == 201, made.text
        assert made.json() == {
            "upload_id": made.json()["upload_id"],
            "batch_id": more.get("batch_id"),
        }
        return str(made.json()["upload_id"])

    def chunk(self, upload: str, number: int, content: bytes) -> httpx.Response:
        return self.client.post(
            "/files/chunk",
            data={"upload_id": upload, "chunk_number": str(number)},
            files={"chunk": ("blob", content, "application/octet-stream")},
        )

    def send(self, batch: str, name: str, *chunks: bytes, **more: Any) -> tuple[str, Any]:
        """A file that is sent; its item."""
        upload = self.begin(name, len(chunks), batch_id=batch, **more)
        for number, content in enumerate(chunks):
            assert self.chunk(upload, number, content).status_code == 201
        return upload, {"filename": name, "totalChunks": len(chunks)}

    def complete(
        self, fid: str, batch: str, items: dict[str, Any], direction: str = "in"
    ) -> httpx.Response:
        return self.client.post(f"/files/complete/{fid}/{batch}/{direction}", json=items)

    def put(self, fid: str, path: str, content: bytes) -> None:
        """Have an execution have a file."""
        direction, _, name = path.partition("/")
        batch = self.batch()
        item = self.send(batch, name, content)
        assert self.complete(fid, batch, dict([item]), direction).status_code == 201

    def names(self, fid: str, direction: str = "in") -> list[str]:
        answer = self.client.get(f"/files/{fid}/{direction}")
        assert answer.status_code == 200, answer.text
        return [file["path"] for file in answer.json()]


@pytest.fixture
def run(panel: Stand, mira: Person) -> Run:
    return panel.run(owner=mira.id).begin()


@pytest.fixture(scope="module")
def mira(shared_panel: Stand) -> Person:
    return shared_panel.person("mira who sends")


@pytest.fixture(scope="module")
def noor(shared_panel: Stand) -> Person:
    return shared_panel.person("noor who may not")


@pytest.fixture
def hers(mira: Person) -> Files:
    return Files(mira.client)


def uploads(panel: Stand, fid: str) -> list[Any]:
    """The upload events of an execution."""
    events = panel.json(f"/outputs/events/{fid}")["items"]
    return [json.loads(e["payload"])["Upload"] for e in events if e["kind"] == "upload"]


def test_a_batch_is_sent_in_chunks_and_given_to_an_execution(
    panel: Stand, hers: Files, run: Run
) -> None:
    batch = hers.batch()
    one = hers.begin("dir/größe.txt", 3, batch_id=batch)
    for number, received in ((2, 1), (0, 2), (1, 3)):
        answer = hers.chunk(one, number, str(number).encode() * 5)
        assert answer.status_code == 201
        assert answer.json() == {
            "status": "chunk received",
            "chunk_number": number,
            "received_chunks": received,
        }
    empty = hers.begin("empty", 0, batch_id=batch)
    items = {
        one: {"filename": "dir/größe.txt", "totalChunks": 3},
        empty: {"filename": "empty", "totalChunks": 0},
    }
    done = hers.complete(run.fid, batch, items)
    assert done.status_code == 201
    assert done.json() == [
        {
            "status": "upload complete",
            "completion_id": run.fid,
            "batch_id": batch,
            "final_file": name,
            "final_path": f"{run.fid}/{name}",
        }
        for name in ("dir/größe.txt", "empty")
    ]
    listing = hers.client.get(f"/files/{run.fid}/in").json()
    assert [file | {"last_modified": 0} for file in listing] == [
        {"path": "in/dir/größe.txt", "size": 15, "last_modified": 0},
        {"path": "in/empty", "size": 0, "last_modified": 0},
    ]
    assert [[file["path"] for file in event["files"]] for event in uploads(panel, run.fid)] == [
        ["in/dir/größe.txt", "in/empty"]
    ]
    assert hers.client.get(f"/files/{run.fid}/in/dir/größe.txt").content == b"000001111122222"
    assert hers.client.get(f"/files/{run.fid}/in/empty").content == b""
    again = hers.complete(run.fid, batch, items)
    assert (again.status_code, again.json()) == (201, done.json())
    assert len(uploads(panel, run.fid)) == 1


def test_a_single_file_is_completed_with_and_without_a_batch(hers: Files, run: Run) -> None:
    for batch in (None, hers.batch()):
        upload = hers.begin("a.txt", 1, batch_id=batch)
        hers.chunk(upload, 0, b"one")
        body = {"upload_id": upload, "filename": "b.txt", "total_chunks": 1, "batch_id": batch}
        whole = hers.client.post("/files/complete/out", json=body)
        assert whole.status_code == 201
        assert whole.json()["final_file"] == "a.txt"
        for _ in range(2):
            done = hers.client.post("/files/complete/out", json=body | {"fid": run.fid})
            assert done.status_code == 201, done.text
            assert done.json() == {
                "status": "upload complete",
                "completion_id": run.fid,
                "batch_id": batch or "",
                "final_file": "b.txt",
                "final_path": f"{run.fid}/b.txt",
            }
    assert hers.names(run.fid, "out") == ["out/b.txt"]


def test_a_chunk_that_comes_again_stays_what_it_was(hers: Files, run: Run) -> None:
    batch = hers.batch()
    upload = hers.begin("a.bin", 2, batch_id=batch)
    assert hers.chunk(upload, 0, b"first").json()["received_chunks"] == 1
    assert hers.chunk(upload, 0, b"first").json()["received_chunks"] == 1
    other = hers.chunk(upload, 0, b"other")
    assert (other.status_code, "other content" in other.json()["detail"]) == (409, True)
    assert hers.chunk(upload, 1, b"second").json()["received_chunks"] == 2
    state = f"/files/upload/{upload}"
    wait_for(lambda: hers.client.get(state).json()["size"] is not None)
    assert hers.chunk(upload, 1, b"second").status_code == 201  # its answer may have been lost
    assert hers.chunk(upload, 1, b"more").status_code == 409
    items = {upload: {"filename": "a.bin", "totalChunks": 2}}
    assert hers.complete(run.fid, batch, items).status_code == 201
    assert hers.client.get(f"/files/{run.fid}/in/a.bin").content == b"firstsecond"
    assert hers.chunk(upload, 0, b"first").status_code == 404


def test_chunks_of_many_sizes_come_in_parallel_and_twice(hers: Files, run: Run) -> None:
    parts = [bytes([n]) * size for n, size in enumerate((1, MIB, MIB + 1, 5 * MIB, 10 * MIB, 7))]
    batch = hers.batch()
    upload = hers.begin("a.bin", len(parts), batch_id=batch)
    with ThreadPoolExecutor(6) as threads:
        sent = list(threads.map(lambda n: hers.chunk(upload, n, parts[n]), [*range(6), *range(6)]))
    assert [answer.status_code for answer in sent] == [201] * 12
    assert max(answer.json()["received_chunks"] for answer in sent) == 6
    items = {upload: {"filename": "a.bin", "totalChunks": 6}}
    assert hers.complete(run.fid, batch, items, "out").status_code == 201
    with hers.client.stream("GET", f"/files/{run.fid}/out/a.bin") as answer:
        digest = hashlib.sha256(b"".join(answer.iter_bytes())).hexdigest()
    assert digest == hashlib.sha256(b"".join(parts)).hexdigest()
    assert answer.headers["etag"] == f'"{digest}"'


def test_what_has_arrived_is_known_after_a_restart(
    settings: Settings, start_panel: Callable[..., Stand]
) -> None:
    first = start_panel(settings)
    sender = Files(first.client)
    batch = sender.batch()
    upload = sender.begin("a.bin", 3, batch_id=batch)
    sender.chunk(upload, 2, b"3")
    sender.chunk(upload, 0, b"1")
    other = Files(start_panel(settings).client)
    state = other.client.get(f"/files/upload/{upload}").json()
    assert (state["chunks"], state["received_bytes"], state["size"]) == ([0, 2], 2, None)
    assert other.chunk(upload, 1, b"2").json()["received_chunks"] == 3
    run = first.run().begin()
    items = {upload: {"filename": "a.bin", "totalChunks": 3}}
    assert sender.complete(run.fid, batch, items).status_code == 201
    assert other.client.get(f"/files/{run.fid}/in/a.bin").content == b"123"


def test_completing_is_all_or_nothing(hers: Files, panel: Stand, run: Run) -> None:
    batch = hers.batch()
    whole = hers.send(batch, "a.txt", b"a")
    lacking = hers.begin("b.txt", 2, batch_id=batch)
    hers.chunk(lacking, 1, b"2")
    items = {whole[0]: whole[1], lacking: {"filename": "b.txt", "totalChunks": 2}}
    for wrong in (
        items,
        dict([whole]) | {lacking: {"filename": "b.txt", "totalChunks": 1}},
        dict([whole]) | {str(uuid4()): {"filename": "c.txt", "totalChunks": 1}},
        dict([whole]) | {lacking: {"filename": "A.TXT", "totalChunks": 2}},
        dict([whole]) | {lacking: {"filename": "../b.txt", "totalChunks": 2}},
    ):
        answer = hers.complete(run.fid, batch, wrong)
        assert answer.status_code in (404, 409, 422), wrong
        assert answer.json().keys() == {"error", "path", "detail", "status_code"}
    assert hers.names(run.fid) == []
    hers.chunk(lacking, 0, b"1")
    assert hers.complete(run.fid, batch, items).status_code == 201
    assert hers.names(run.fid) == ["in/a.txt", "in/b.txt"]
    assert len(uploads(panel, run.fid)) == 1


def test_completed_many_times_at_once_it_is_completed_once(
    hers: Files, panel: Stand, run: Run
) -> None:
    batch = hers.batch()
    items = dict(hers.send(batch, f"{n}.txt", b"x" * 10, b"y") for n in range(4))
    with ThreadPoolExecutor(6) as threads:
        done = list(threads.map(lambda _: hers.complete(run.fid, batch, items), range(6)))
    assert [answer.status_code for answer in done] == [201] * 6
    assert all(answer.json() == done[0].json() for answer in done)
    assert len(uploads(panel, run.fid)) == 1
    other = panel.run(owner=panel.json("/role")[0]["id"]).begin()
    assert hers.complete(other.fid, batch, items).status_code in (403, 404)


def test_a_batch_is_one_executions(hers: Files, panel: Stand, run: Run, mira: Person) -> None:
    batch = hers.batch()
    items = dict([hers.send(batch, "a.txt", b"x")])
    assert hers.complete(run.fid, batch, items).status_code == 201
    other = panel.run(owner=mira.id).begin()
    answer = hers.complete(other.fid, batch, items)
    assert (answer.status_code, run.fid in answer.json()["detail"]) == (409, True)
    assert hers.names(other.fid) == []


NAMES = [
    *("../x", "/etc/passwd", "a/../../b", "a\x00b", "a\\b", "x" * 256, "CON", "a/nul.txt", "dot."),
    *("", ".", "..", "a//b", "\u202etxt.exe", "a" * 1025, " a", "x?", "\ud800"),
]


@pytest.mark.parametrize("name", NAMES, ids=ascii)
def test_names_that_no_machine_should_hold_are_refused(hers: Files, name: str) -> None:
    body = json.dumps({"filename": name, "total_chunks": 1}).encode()
    answer = hers.client.post(
        "/files/init", content=body, headers={"content-type": "application/json"}
    )
    assert answer.status_code == 422, answer.text
    assert answer.json().keys() == {"error", "path", "detail", "status_code"}


def test_two_names_that_differ_in_case_or_unicode_form_are_one(hers: Files) -> None:
    batch = hers.batch()
    first = hers.begin("Ärger.txt", 2, batch_id=batch)
    assert hers.begin("Ärger.txt", 2, batch_id=batch) == first  # its answer may have been lost
    for name in ("ärger.txt", "A\u0308rger.TXT", "Ärger.txt", "Ärger\uff0etxt"):
        answer = hers.init(name, 1, batch_id=batch)
        assert (answer.status_code, "Ärger.txt" in answer.json()["detail"]) == (409, True)


def test_what_does_not_fit_is_refused(hers: Files) -> None:
    for chunks in (-1, 1_000_001):
        assert hers.init("a", chunks).status_code == 422
    for wrong in ({"filename": "a"}, {"filename": "a", "total_chunks": "many"}, ["a"]):
        assert hers.client.post("/files/init", json=wrong).status_code == 422
    assert hers.init("a", batch_id=str(uuid4())).status_code == 404
    assert hers.init("a", batch_id="../x").status_code == 422
    upload = hers.begin("a", 2)
    for number in (-1, 2, 10**6):
        assert hers.chunk(upload, number, b"x").status_code == 422
    assert hers.chunk(str(uuid4()), 0, b"x").status_code == 404
    assert hers.chunk("../x", 0, b"x").status_code == 422
    assert hers.chunk(upload, 0, b"x" * (10 * MIB + 1)).status_code == 413
    assert hers.chunk(upload, 0, b"x" * (11 * MIB)).status_code == 413
    plain = {"upload_id": upload, "chunk_number": "0", "chunk": "text"}
    assert hers.client.post("/files/chunk", data=plain).status_code == 422
    assert hers.client.post("/files/chunk", json=plain).status_code == 422
    state = hers.client.get(f"/files/upload/{upload}").json()
    assert (state["chunks"], state["received_bytes"]) == ([], 0)


def test_a_cancelled_file_is_gone(hers: Files, shared_panel: Stand) -> None:
    upload = hers.begin("a.txt", 2)
    hers.chunk(upload, 0, b"x")
    cancelled = hers.client.delete(f"/files/cancel/{upload}")
    assert (cancelled.status_code, cancelled.content) == (204, b"")
    assert hers.client.delete(f"/files/cancel/{upload}").status_code == 404
    assert hers.chunk(upload, 1, b"x").status_code == 404
    stored = storage_of(shared_panel.settings).contents(f"uploads/{upload}")
    assert list(stored) == []


def test_others_can_do_nothing_with_it(
    hers: Files, noor: Person, panel: Stand, run: Run, mira: Person
) -> None:
    batch = hers.batch()
    upload, item = hers.send(batch, "a.txt", b"secret")
    hers.put(run.fid, "in/mine.txt", b"mine")
    theirs, operators = Files(noor.client), Files(panel.client)
    noors = panel.run(owner=noor.id).begin()
    for other in (theirs, operators):
        assert other.init("x", batch_id=batch).status_code == 404
        assert other.chunk(upload, 0, b"secret").status_code == 404
        assert other.client.get(f"/files/upload/{upload}").status_code == 404
        assert other.client.delete(f"/files/cancel/{upload}").status_code == 404
        assert other.complete(noors.fid, batch, {upload: item}).status_code == 404
        body = {"upload_id": upload, "filename": "a.txt", "total_chunks": 1, "fid": noors.fid}
        assert other.client.post("/files/complete/in", json=body).status_code == 404
    path = f"/files/{run.fid}/in"
    own = theirs.batch()
    assert theirs.complete(run.fid, own, {}).status_code == 404
    for method, address in (
        *(("GET", path), ("GET", f"{path}/mine.txt"), ("HEAD", f"{path}/mine.txt")),
        *(("DELETE", path), ("DELETE", f"{path}/mine.txt")),
    ):
        assert noor.client.request(method, address).status_code == 404
        assert panel.connect().request(method, address).status_code == 401
    assert operators.names(run.fid) == ["in/mine.txt"]
    assert operators.client.get(f"{path}/mine.txt").content == b"mine"


CASES = [
    (None, 200, b"0123456789", None),
    ("bytes=2-4", 206, b"234", "bytes 2-4/10"),
    ("bytes=7-", 206, b"789", "bytes 7-9/10"),
    ("bytes=-3", 206, b"789", "bytes 7-9/10"),
    ("bytes=-99", 206, b"0123456789", "bytes 0-9/10"),
    ("bytes=8-99", 206, b"89", "bytes 8-9/10"),
    ("bytes=0-1,4-5", 200, b"0123456789", None),
    ("bytes=4-2", 200, b"0123456789", None),
    ("lines=1-2", 200, b"0123456789", None),
    ("bytes=10-", 416, None, "bytes */10"),
    ("bytes=-0", 416, None, "bytes */10"),
    ("bytes=" + "9" * 20 + "-", 416, None, "bytes */10"),
]


@pytest.mark.parametrize(("range_", "status", "content", "said"), CASES)
def test_a_part_is_sent_where_one_is_asked_for(
    hers: Files, run: Run, range_: str | None, status: int, content: bytes | None, said: str | None
) -> None:
    hers.put(run.fid, "out/a.bin", b"0123456789")
    headers = {} if range_ is None else {"Range": range_}
    answer = hers.client.get(f"/files/{run.fid}/out/a.bin", headers=headers)
    assert (answer.status_code, answer.headers.get("content-range")) == (status, said)
    if content is not None:
        assert answer.content == content
        assert answer.headers["content-length"] == str(len(content))


def test_who_has_it_is_told_so(hers: Files, run: Run) -> None:
    hers.put(run.fid, "out/a.bin", b"0123456789")
    address = f"/files/{run.fid}/out/a.bin"
    head = hers.client.head(address)
    assert (head.status_code, head.content, head.headers["content-length"]) == (200, b"", "10")
    etag = head.headers["etag"]
    assert etag == f'"{hashlib.sha256(b"0123456789").hexdigest()}"'
    for tags, status in ((etag, 304), ("*", 304), (f'"x", W/{etag}', 304), ('"x"', 200)):
        answer = hers.client.get(address, headers={"If-None-Match": tags})
        assert (answer.status_code, answer.headers["etag"]) == (status, etag)
    part = {"Range": "bytes=0-0"}
    for tag, status in ((etag, 206), ('"x"', 200), (f"W/{etag}", 200)):
        answer = hers.client.get(address, headers=part | {"If-Range": tag})
        assert answer.status_code == status


@pytest.mark.parametrize(
    ("name", "content"),
    [
        ("page.html", b"<script>alert(1)</script>"),
        ("image.svg", b'<svg xmlns="http://www.w3.org/2000/svg" onload="alert(1)"/>'),
        ("polyglot.pdf", b"%PDF-1.4\n<html><script>alert(1)</script>"),
        ("Übersicht; filename=x.exe.html", b"<b>"),
    ],
)
def test_nothing_runs_in_the_panels_origin(
    hers: Files, run: Run, name: str, content: bytes
) -> None:
    hers.put(run.fid, f"out/{name}", content)
    answer = hers.client.get(f"/files/{run.fid}/out/{name}", headers={"Accept": "text/html"})
    assert answer.content == content
    said = answer.headers
    assert said["content-type"] == "application/octet-stream"
    assert said["x-content-type-options"] == "nosniff"
    assert "sandbox" in said["content-security-policy"]
    assert "default-src 'none'" in said["content-security-policy"]
    assert said["content-disposition"].startswith('attachment; filename="')
    encoded = said["content-disposition"].partition("filename*=UTF-8''")[2]
    assert str(httpx.URL(f"http://x/{encoded}").path) == f"/{name}"
    assert said["cache-control"] == "private, no-cache"


def test_the_ways_to_write_a_path(hers: Files, run: Run) -> None:
    hers.put(run.fid, "in/dir/ü.txt", b"x")
    base = f"/files/{run.fid}"
    for path in ("in/dir/ü.txt", "in%2Fdir%2F%C3%BC.txt", "in//dir//ü.txt", "in/dir/u\u0308.txt"):
        assert hers.client.get(f"{base}/{path}").content == b"x", path
    assert hers.client.get(f"{base}/in/").json() == hers.client.get(f"{base}/in").json()
    for path in ("in/dir", "in/DIR/ü.txt", "in/none", "in/dir/ü.txt/x", "in/..%2f..%2fx", "in/%00"):
        assert hers.client.get(f"{base}/{path}").status_code == 404, path
    for path in ("/files/x/in", f"/files/{uuid4()}/in", f"{base}/bogus", base):
        assert hers.client.get(path).status_code == 404, path


def test_a_listing_is_paged_and_has_details(hers: Files, run: Run) -> None:
    for name in ("b", "a/x", "a.txt", "c"):
        hers.put(run.fid, f"out/{name}", name.encode())
    address = f"/files/{run.fid}/out"
    assert hers.names(run.fid, "out") == ["out/a.txt", "out/a/x", "out/b", "out/c"]
    seen: list[str] = []
    after: dict[str, Any] = {}
    while rows := hers.client.get(address, params={"limit": 3} | after).json():
        assert len(rows) <= 3
        seen += [row["path"] for row in rows]
        after = {"after": seen[-1]}
    assert seen == hers.names(run.fid, "out")
    [row] = hers.client.get(address, params={"details": "true", "after": "out/b"}).json()
    assert row["sha256"] == hashlib.sha256(b"c").hexdigest()
    assert row["media_type"] == "application/octet-stream"


def test_files_folders_and_all_of_it_are_removed(hers: Files, panel: Stand, run: Run) -> None:
    for name in ("a", "dir/x", "dir/deep/y", "dirs", "z"):
        hers.put(run.fid, f"out/{name}", b"x")
    base = f"/files/{run.fid}/out"
    removed = hers.client.delete(f"{base}/a")
    assert (removed.status_code, removed.content) == (204, b"")
    assert hers.client.delete(f"{base}/a").status_code == 404
    assert hers.client.delete(f"{base}/dir").status_code == 204
    assert hers.names(run.fid, "out") == ["out/dirs", "out/z"]
    assert uploads(panel, run.fid)[-1]["removed"] == ["out/dir/deep/y", "out/dir/x"]
    assert hers.client.delete(base).status_code == 204
    assert hers.names(run.fid, "out") == []
    assert hers.client.delete(base).status_code == 404


def test_downloads_and_removals_are_in_the_audit(hers: Files, panel: Stand, run: Run) -> None:
    hers.put(run.fid, "out/a.txt", b"x")
    hers.client.get(f"/files/{run.fid}/out/a.txt", headers={"Range": "bytes=0-0"})
    hers.client.head(f"/files/{run.fid}/out/a.txt")
    hers.client.get(f"/files/{run.fid}/out")
    hers.client.delete(f"/files/{run.fid}/out/a.txt")
    hers.client.get(f"/files/{run.fid}/out/a.txt")
    rows = panel.json("/audit", params={"limit": 500})["items"]
    own = [
        (row["action"], row["outcome"], row["actor_name"], row["target_id"])
        for row in rows
        if run.fid in (row["details"].get("fid"), row["target_id"])
    ]
    name = "mira who sends"
    assert own == [
        ("file_download", "refused", name, "out/a.txt"),
        ("file_delete", "ok", name, "out/a.txt"),
        ("file_download", "ok", name, "out/a.txt"),
        ("file_add", "ok", name, run.fid),
    ]


def test_a_page_of_another_site_sends_nothing(mira: Person, panel: Stand, run: Run) -> None:
    browser = panel.connect()
    browser.cookies.set("kodosumi_jwt", mira.cookie)
    assert browser.post("/files/init_batch").status_code == 201
    for method, path in (
        *(("POST", "/files/init_batch"), ("POST", "/files/init"), ("POST", "/files/chunk")),
        *(("DELETE", f"/files/{run.fid}/in"), ("DELETE", f"/files/cancel/{uuid4()}")),
    ):
        answer = browser.request(method, path, headers={"Sec-Fetch-Site": "cross-site"})
        assert answer.status_code == 403, path


@pytest.fixture
def limited(settings: Settings, start_panel: Callable[..., Stand]) -> Iterator[Stand]:
    """A panel of narrow limits."""
    limits = {
        "file_bytes": 1000,
        "execution_files": 3,
        "execution_file_bytes": 1500,
        "owner_file_bytes": 2500,
    }
    yield start_panel(settings.model_copy(update=limits))


def test_limits_hold_before_and_while_a_file_is_sent(limited: Stand) -> None:
    sender, run = Files(limited.client), limited.run().begin()
    refused = sender.init("a", 1, size=1001)
    assert (refused.status_code, "file_bytes" in refused.json()["detail"]) == (413, True)
    upload = sender.begin("a", 3)
    assert sender.chunk(upload, 0, b"x" * 600).status_code == 201
    assert sender.chunk(upload, 1, b"x" * 600).status_code == 413
    assert sender.chunk(upload, 0, b"x" * 600).status_code == 201  # it is there already
    short = sender.begin("b", 2, size=10)
    assert sender.chunk(short, 0, b"x" * 11).status_code == 413
    batch = sender.batch()
    items = dict(sender.send(batch, name, b"x" * 800) for name in ("a", "b"))
    over = sender.complete(run.fid, batch, items)
    assert (over.status_code, "execution_file_bytes" in over.json()["detail"]) == (413, True)
    full = sender.init("c", 1, size=700)
    assert (full.status_code, "owner_file_bytes" in full.json()["detail"]) == (413, True)
    for id_ in items:
        assert sender.client.delete(f"/files/cancel/{id_}").status_code == 204
    many = sender.batch()
    items = dict(sender.send(many, str(n), b"x") for n in range(4))
    over = sender.complete(run.fid, many, items)
    assert (over.status_code, "execution_files" in over.json()["detail"]) == (413, True)
    assert sender.names(run.fid) == []


def test_a_client_that_vanishes_leaves_nothing(hers: Files, panel: Stand, mira: Person) -> None:
    upload = hers.begin("a.bin", 2)
    host, port = httpx.URL(panel.url).host, httpx.URL(panel.url).port
    head = (
        f"POST /files/chunk HTTP/1.1\r\nHost: {host}\r\nKODOSUMI_API_KEY: {mira.token}\r\n"
        "Content-Type: multipart/form-data; boundary=b\r\nContent-Length: 100000\r\n\r\n"
        f'--b\r\nContent-Disposition: form-data; name="upload_id"\r\n\r\n{upload}\r\n--b\r\n'
    )
    with socket.create_connection((host, port or 80)) as connection:
        connection.sendall(head.encode())
    assert hers.chunk(upload, 0, b"x").json()["received_chunks"] == 1
    assert hers.client.get(f"/files/upload/{upload}").json()["received_bytes"] == 1


def part(name: str, content: bytes, more: str = "") -> bytes:
    """A part of a form, as it goes over the wire."""
    head = f'--b\r\nContent-Disposition: form-data; name="{name}"{more}\r\n\r\n'
    return head.encode() + content + b"\r\n"


def test_a_chunk_may_come_before_its_fields_and_with_others(hers: Files) -> None:
    upload = hers.begin("a.bin", 2)
    content = part("chunk", b"\r\n-b is no boundary here!", '; filename="x"')
    fields = part("upload_id", upload.encode()) + part("chunk_number", b"1")
    other = part("second", b"ignored", '; filename="y"')
    kind = {"Content-Type": "multipart/form-data; boundary=b"}

    def post(body: bytes, headers: dict[str, str] = kind) -> httpx.Response:
        return hers.client.post("/files/chunk", content=body, headers=headers)

    answer = post(content + other + fields + b"--b--\r\n")
    assert answer.json() == {"status": "chunk received", "chunk_number": 1, "received_chunks": 1}
    assert hers.client.get(f"/files/upload/{upload}").json()["received_bytes"] == 25
    for body in (fields + b"--b--\r\n", content + b"--b--\r\n"):
        assert (post(body).status_code, "required" in post(body).json()["detail"]) == (422, True)
    assert post(b"no form--b--\r\n").status_code == 400
    for body in (fields + part("x", bytes(2000)), part("x", b"") * 101):
        assert post(body + b"--b--\r\n").status_code == 422
    assert post(fields, {"Content-Type": "multipart/form-data"}).status_code == 400


def test_completing_waits_for_what_is_put_together_already(
    hers: Files, run: Run, monkeypatch: pytest.MonkeyPatch
) -> None:
    joined, asked = [], threading.Event()
    join, assembled = uploads_module._joined, Depot.assembled

    def joined_later(upload: Upload, *others: Any) -> Iterator[bytes]:
        joined.append(upload.path)
        assert asked.wait(20)
        yield from join(upload, *others)

    async def asked_for(depot: Depot, chosen: Iterable[Upload]) -> None:
        asked.set()
        await assembled(depot, chosen)

    monkeypatch.setattr(uploads_module, "_joined", joined_later)
    monkeypatch.setattr(Depot, "assembled", asked_for)
    batch = hers.batch()
    item = hers.send(batch, "a.bin", b"one", b"two", b"three")
    wait_for(lambda: joined == ["a.bin"], 10, "a.bin being put together")
    assert hers.complete(run.fid, batch, dict([item])).status_code == 201
    assert hers.client.get(f"/files/{run.fid}/in/a.bin").content == b"onetwothree"
    assert joined == ["a.bin"]


def test_the_dashboard_counts_and_lists_files(hers: Files, run: Run) -> None:
    hers.put(run.fid, "in/a.txt", b"x")
    hers.put(run.fid, "out/ü.txt", b"yy")
    hers.put(run.fid, "out/dir/z", b"z")
    base = "/api/dashboard"
    answer = hers.client.get(f"{base}/execution/{run.fid}/files").json()
    assert answer["uploads"] == [
        {"name": "a.txt", "size": 1, "path": "in/a.txt", "url": f"/files/{run.fid}/in/a.txt"}
    ]
    assert [file["name"] for file in answer["downloads"]] == ["dir/z", "ü.txt"]
    assert (answer["upload_count"], answer["download_count"]) == (1, 2)
    assert hers.client.get(answer["downloads"][1]["url"]).content == b"yy"
    row = hers.client.get(f"{base}/execution/{run.fid}/details").json()["metadata"]
    assert (row["upload_count"], row["download_count"]) == (1, 2)


def test_another_storage_than_the_registered_one_is_not_used(
    settings: Settings,
    start_panel: Callable[..., Stand],
    tmp_path: Any,
    caplog: pytest.LogCaptureFixture,
) -> None:
    first = start_panel(settings)
    run = first.run().begin()
    Files(first.client).put(run.fid, "in/a.txt", b"x")
    assert first.json("/readyz")["files"] == "ok"
    other = settings.model_copy(update={"file_storage_url": (tmp_path / "other").as_uri()})
    second = start_panel(other)
    assert "leads to another storage" in caplog.text
    assert "leads to another storage" in second.json("/readyz")["files"]
    assert Files(second.client).names(run.fid) == ["in/a.txt"]
    for answer in (
        second.get(f"/files/{run.fid}/in/a.txt"),
        Files(second.client).chunk(Files(second.client).begin("b"), 0, b"x"),
    ):
        assert (answer.status_code, "Retry-After" in answer.headers) == (503, True)
        assert "leads to another storage" in answer.json()["detail"]


def test_content_that_is_gone_is_no_half_file(hers: Files, panel: Stand, run: Run) -> None:
    hers.put(run.fid, "in/a.txt", b"x")
    with psycopg.connect(panel.database) as connection:
        [(key,)] = connection.execute(
            "SELECT key FROM kodosumi.file f JOIN kodosumi.execution e ON e.id = execution_id"
            " WHERE fid = %s",
            (run.fid,),
        ).fetchall()
    storage_of(panel.settings).delete([key])
    answer = hers.client.get(f"/files/{run.fid}/in/a.txt")
    assert (answer.status_code, "no longer there" in answer.json()["detail"]) == (404, True)


def test_a_folder_has_no_urls(hers: Files, run: Run) -> None:
    hers.put(run.fid, "in/a.txt", b"x")
    refused = [
        hers.init("b", 0, presigned=True),
        hers.client.get(f"/files/{run.fid}/in/a.txt", params={"presigned": "true"}),
    ]
    for answer in refused:
        assert (answer.status_code, "no URLs" in answer.json()["detail"]) == (422, True)


def test_the_panel_answers_while_files_come(hers: Files, panel: Stand) -> None:
    batch = hers.batch()

    async def all_at_once() -> list[int]:
        headers = {"KODOSUMI_API_KEY": str(hers.client.headers["KODOSUMI_API_KEY"])}
        async with httpx.AsyncClient(
            base_url=panel.url, headers=headers, timeout=60, trust_env=False
        ) as client:

            async def one(number: int) -> int:
                body = {"filename": f"{number}", "total_chunks": 1, "batch_id": batch}
                made = (await client.post("/files/init", json=body)).json()
                answer = await client.post(
                    "/files/chunk",
                    data={"upload_id": made["upload_id"], "chunk_number": "0"},
                    files={"chunk": ("blob", bytes(2 * MIB))},
                )
                return answer.status_code

            codes = [asyncio.create_task(one(number)) for number in range(12)]
            alive = await client.get("/livez")
            return [alive.status_code, *(await asyncio.gather(*codes))]

    assert asyncio.run(all_at_once()) == [200, *[201] * 12]
