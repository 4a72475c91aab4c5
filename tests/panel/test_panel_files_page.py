"""Files of an execution on its page: listed, previewed without ever running, and zipped."""

import hashlib
import io
import json
import re
import zipfile
from typing import Any
from uuid import uuid4

import pytest

from kodosumi_prefect.database.rows.files import ListedFile
from kodosumi_prefect.events import serialize
from kodosumi_prefect.files.record import StoredFile, payload_of
from kodosumi_prefect.files.storage import storage_of
from kodosumi_prefect.panel.files import archive, pages
from kodosumi_prefect.panel.html.uploads import upload_html, upload_line
from tests.panel.panel_runs import Person, Run, Stand

ATTACK = "<script>alert(1)</script><img src=x onerror=alert(1)>"
PNG = bytes.fromhex(
    "89504e470d0a1a0a0000000d49484452000000010000000108060000001f15c489"
    "0000000d49444154789c6360f8cfc0500f0004820181d35dd0ad0000000049454e44ae426082"
)


class Made:
    """A run that writes files, as its own process would."""

    def __init__(self, panel: Stand, run: Run) -> None:
        self.panel, self.run = panel, run
        self.storage = storage_of(panel.settings)

    def files(self) -> str:
        return f"/executions/{self.run.fid}/files"

    def put(self, *files: tuple[str, bytes], media_type: str = "text/plain") -> None:
        stored = []
        for path, content in files:
            key = f"objects/{self.run.fid}/{uuid4()}"
            written = self.storage.write_whole(key, content, settled=False)
            stored.append(StoredFile(path, key, written.size, written.sha256, media_type))
        self.run.say("upload", payload_of(stored))

    def preview(self, path: str, query: str = "") -> Any:
        return self.panel.get(f"{self.files()}/{path}{query}")

    def zip(self, query: str = "") -> zipfile.ZipFile:
        answer = self.panel.get(f"{self.files()}.zip{query}")
        assert answer.status_code == 200, answer.text
        return zipfile.ZipFile(io.BytesIO(answer.content))


@pytest.fixture
def made(panel: Stand) -> Made:
    return Made(panel, panel.run().begin())


def paths_of(text: str) -> list[str]:
    return re.findall(r'name="path" value="([^"]+)"', text)


def downloads(panel: Stand, fid: str) -> list[dict[str, Any]]:
    """What the audit has of downloads of this execution's files, the newest first."""
    items = panel.json("/audit?action=file_download")["items"]
    return [each for each in items if fid in json.dumps(each)]


def test_files_are_listed_with_what_is_known_of_each(panel: Stand, made: Made) -> None:
    assert "No files yet" in panel.get(made.files()).text
    task = str(uuid4())
    made.put(("in/given & taken.txt", b"given"))
    key = f"objects/{made.run.fid}/{uuid4()}"
    written = made.storage.write_whole(key, b"12345")
    payload = payload_of(
        [StoredFile("out/über/a.txt", key, written.size, written.sha256, "text/plain")]
    )
    source = json.dumps({"task_run": {"id": task, "name": "writing"}, "node": "a-node"})
    made.run.put(made.run.event("upload", payload, source=source))
    text = panel.get(made.files()).text
    assert paths_of(text) == ["in/given &amp; taken.txt", "out/über/a.txt"]
    assert f'href="/executions/{made.run.fid}/files/out/%C3%BCber/a.txt"' in text
    assert f'href="/files/{made.run.fid}/in/given%20%26%20taken.txt"' in text
    assert hashlib.sha256(b"12345").hexdigest() in text
    assert f"task_run={task}" in text and "2 files, 10 B" in text
    page = panel.get(f"/executions/{made.run.fid}?tab=files").text
    assert re.search(r'id="files-count">2</span>', page)
    assert f'hx-get="/executions/{made.run.fid}/files"' in page
    listed = panel.get("/executions").text
    assert re.search(rf'href="/executions/{made.run.fid}\?tab=files">2 files<', listed)


def test_a_long_list_is_read_page_by_page_without_gap(
    panel: Stand, made: Made, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(pages, "PER_PAGE", 4)
    ins = [f"in/{n}" for n in range(6)]
    outs = [f"out/{n} &" for n in range(5)]
    made.put(*((path, b"x") for path in ins + outs))
    seen: list[str] = []
    address = made.files()
    sizes = []
    while True:
        text = panel.get(address).text
        sizes.append(len(paths_of(text)))
        seen += [path.replace("&amp;", "&") for path in paths_of(text)]
        following = re.search(r'rel="next" href="([^"]+)"', text)
        if following is None:
            break
        address = following[1].replace("&amp;", "&")
    assert (seen, sizes) == (ins + outs, [4, 4, 3])


def test_a_zip_holds_what_is_asked_for_and_is_recorded(panel: Stand, made: Made) -> None:
    text = b"the same again and again. " * 100_000
    made.put(("in/a.txt", b"a"), ("out/ä/long.txt", text), ("out/b.txt", b""))
    made.put(("out/p.png", PNG + bytes(5000)), media_type="image/png")
    whole = made.zip()
    assert whole.testzip() is None
    assert whole.namelist() == ["in/a.txt", "out/b.txt", "out/p.png", "out/ä/long.txt"]
    assert whole.read("out/ä/long.txt") == text
    assert whole.getinfo("out/ä/long.txt").compress_size < len(text) // 10
    assert whole.getinfo("out/p.png").compress_type == zipfile.ZIP_STORED
    assert made.zip("?path=out/ä&path=in/a.txt").namelist() == ["in/a.txt", "out/ä/long.txt"]
    [some, every] = downloads(panel, made.run.fid)
    assert (every["details"]["files"], every["details"]["bytes"]) == (
        4,
        len(text) + 1 + 5000 + len(PNG),
    )
    assert some["details"]["paths"] == ["out/ä", "in/a.txt"]
    chosen = panel.client.post(f"{made.files()}.zip", data={"path": ["out/b.txt", "in/a.txt"]})
    assert zipfile.ZipFile(io.BytesIO(chosen.content)).namelist() == ["in/a.txt", "out/b.txt"]
    assert chosen.headers["content-disposition"].startswith("attachment;")


def test_what_cannot_be_zipped_is_refused(
    panel: Stand, made: Made, monkeypatch: pytest.MonkeyPatch
) -> None:
    zip_ = f"{made.files()}.zip"
    assert panel.client.get(zip_).status_code == 404
    made.put(*((f"out/{n}", b"x") for n in range(4)))
    refused = {"out/none": 404, "etc/passwd": 422, "out/../in": 422, "out/a\x00b": 422}
    for path, status in refused.items():
        answer = panel.client.get(zip_, params={"path": path})
        assert answer.status_code == status, (path, answer.text)
    assert panel.client.post(zip_).status_code == 422
    monkeypatch.setattr(pages, "MOST", 3)
    for query in ("", "?path=out"):
        answer = panel.client.get(zip_ + query)
        assert answer.status_code == 413 and "more than 3 files" in answer.json()["detail"]
    assert panel.client.get(f"{zip_}?path=out/1").status_code == 200


def test_a_zip_that_breaks_off_is_never_taken_for_whole(panel: Stand, made: Made) -> None:
    made.put(("out/a", bytes(3 * 1024**2)), ("out/b", b"gone"))
    [row] = [f for f in panel.json(f"/files/{made.run.fid}/out?details=true") if "b" in f["path"]]
    keys = [
        c.key for c in made.storage.contents(f"objects/{made.run.fid}") if c.size == row["size"]
    ]
    made.storage.delete(keys)
    received = b""
    try:
        with panel.client.stream("GET", f"{made.files()}.zip") as answer:
            for piece in answer.iter_bytes():
                received += piece
    except Exception:  # the connection breaks off, as it should
        pass
    with pytest.raises(zipfile.BadZipFile):
        zipfile.ZipFile(io.BytesIO(received))


def test_previews_show_and_never_run(panel: Stand, made: Made) -> None:
    made.put(
        ("out/a.html", ATTACK.encode()),
        ("out/a.svg", f"<svg xmlns='http://www.w3.org/2000/svg'>{ATTACK}</svg>".encode()),
        ("out/a.md", f"# Head\n\n{ATTACK}\n\n[x](javascript:alert(1))".encode()),
        ("out/a.csv", f'name;"of"\n{ATTACK};"two\nlines"\n'.encode()),
        ("out/a.png", ATTACK.encode()),
        ("out/a.txt", PNG),
        ("out/a.pdf", b"%PDF-1.7 " + ATTACK.encode()),
        ("out/a.bin", bytes(range(256))),
        ("out/empty", b""),
    )
    for name in ("a.html", "a.svg", "a.md", "a.csv", "a.png", "a.txt", "a.pdf", "a.bin", "empty"):
        answer = made.preview(f"out/{name}")
        assert answer.status_code == 200, name
        policy = answer.headers["content-security-policy"]
        assert "sandbox" in policy and "allow-scripts" not in policy and "script-src" not in policy
        assert answer.headers["x-content-type-options"] == "nosniff"
        assert answer.headers["content-type"].startswith("text/html")
        for evil in ("<script", "<img src=x", "onerror=alert(1)>", 'href="javascript'):
            assert evil not in answer.text, (name, evil)
    assert "<h1>Head</h1>" in made.preview("out/a.md").text
    table = made.preview("out/a.csv").text
    assert '<th scope="col">of</th>' in table and "<td>two\nlines</td>" in table
    assert "&lt;script&gt;" in made.preview("out/a.svg").text
    assert "?picture=true" in made.preview("out/a.txt").text  # whatever it is called
    picture = made.preview("out/a.txt", "?picture=true")
    assert (picture.content, picture.headers["content-type"]) == (PNG, "image/png")
    assert "sandbox" in picture.headers["content-security-policy"]
    for name in ("a.png", "a.html", "a.svg", "a.pdf"):
        refused = panel.client.get(f"{made.files()}/out/{name}?picture=true")
        assert refused.status_code == 422, name
    assert "Download it" in made.preview("out/a.pdf").text
    assert "Download it" in made.preview("out/a.bin").text
    assert "out/a.html" in json.dumps(downloads(panel, made.run.fid))


def test_long_files_are_shown_from_their_beginning(made: Made) -> None:
    rows = "".join(f"{n},{n * n}\n" for n in range(300_000))
    made.put(
        ("out/long.csv", f"n,square\n{rows}".encode()),
        ("out/long.txt", ("ä" * 600_000).encode()),
        ("out/long.md", b"# Head\n" + b"word " * 200_000),
    )
    table = made.preview("out/long.csv").text
    assert table.count("<tr>") == 201 and "The first 200 rows" in table
    text = made.preview("out/long.txt").text
    assert "The first 200,000 characters" in text and "\ufffd" not in text and "Ã" not in text
    assert "The first 200,000 characters" in made.preview("out/long.md").text


def test_files_of_others_are_neither_listed_nor_shown_nor_zipped(shared_panel: Stand) -> None:
    mira, noor = (shared_panel.person(f"{name} of the files page") for name in ("mira", "noor"))
    made = Made(shared_panel, shared_panel.run(owner=mira.id).begin())
    made.put(("out/secret.txt", b"secret"))
    assert read_by(mira, made) == [200, 200, 200]
    assert read_by(noor, made) == [404, 404, 404]


def read_by(person: Person, made: Made) -> list[int]:
    paths = (made.files(), f"{made.files()}.zip", f"{made.files()}/out/secret.txt")
    return [person.client.get(path).status_code for path in paths]


def test_files_stand_in_the_output_where_they_were_made(panel: Stand, made: Made) -> None:
    made.run.say("result", serialize("before"))
    made.put(("out/a b.txt", b"x" * 1234), ("out/c", b""))
    made.run.say("upload", payload_of(removed=["out/c"]))
    text = panel.get(f"/executions/{made.run.fid}/output").text
    link = f'<a href="{made.run.fid}/files/out/a%20b.txt">out/a b.txt</a> <span>1.2 kB</span>'
    assert text.index("before") < text.index(link)
    log = panel.get(f"/executions/{made.run.fid}/log").text
    assert "uploaded out/a b.txt (1.2 kB), out/c (0 B)" in log and "removed out/c" in log
    file = panel.get(f"/executions/{made.run.fid}/log.txt").text
    assert "uploaded out/a b.txt (1.2 kB), out/c (0 B)" in file


def test_an_upload_in_any_shape_is_one_line() -> None:
    many = {"Upload": {"files": [{"path": f"out/{n}", "size": 1} for n in range(25)]}}
    assert upload_line(many).endswith("out/19 (1 B) and 5 more")
    assert "?tab=files" in upload_html(json.dumps(many), "fid")
    assert upload_line({"Upload": {"files": ["a", "b"]}}) == "uploaded a, b"
    assert upload_line({"other": 1}) == '{"other": 1}'
    odd = json.dumps(
        {"Upload": {"files": [{"path": f"out/{ATTACK}"}, {"path": "javascript:x"}, 3]}}
    )
    for payload in (odd, ATTACK, "[]", "null"):
        html = upload_html(payload, "fid")
        assert "<script" not in html and "<img" not in html and 'href="javascript' not in html


def test_compressed_media_are_stored_as_they_are() -> None:
    def small(path: str, media_type: str) -> bool:
        return archive._is_small(ListedFile(path, "k", 1, "", media_type, 0.0, 1, None, None))

    assert small("out/a.docx", "application/octet-stream") and small("out/a", "video/mp4")
    assert small("out/a", "image/jpeg") and not small("out/a", "image/svg+xml")
    assert not small("out/a.txt", "text/plain") and not small("out/a.csv", "text/csv")
