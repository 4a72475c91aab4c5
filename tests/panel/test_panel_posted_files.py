"""Forms posted with files in them, as by a browser without scripts: launches and answers."""

import json
import re
import time
from collections.abc import Callable, Iterator
from typing import Any, NamedTuple
from uuid import uuid4

import httpx
import pytest
from starlette.requests import Request
from starlette.responses import JSONResponse, Response

from kodosumi_prefect import forms
from kodosumi_prefect.events import serialize
from kodosumi_prefect.files.scan import FileRefusedError, UploadedFile
from kodosumi_prefect.files.storage import storage_of
from kodosumi_prefect.http.multipart import parts
from kodosumi_prefect.refusals import UnavailableError
from kodosumi_prefect.settings import Settings
from tests.panel.faulty_services import document, operation
from tests.panel.panel_runs import Stand
from tests.panel.registering import register

FORM = forms.Model(
    forms.InputText("title", label="Title"),
    forms.InputFiles("papers", label="Papers", required=True, multiple=True),
    forms.InputFiles("cover", label="Cover"),
)


class Service(NamedTuple):
    """A service that takes nothing, and so shows what it was sent."""

    stand: Stand
    uid: str
    posted: list[dict[str, Any]]

    @property
    def address(self) -> str:
        return f"/services/{self.uid}"

    def post(self, *files: tuple[str, str, bytes], **fields: Any) -> httpx.Response:
        """Post the form as a browser does; names of ``fields`` have ``_`` for dots."""
        data = {"field.title": "t", "field.papers": "", "field.cover": ""}
        data |= {name.replace("_", "."): value for name, value in fields.items()}
        sent = [(name, (path, content)) for name, path, content in files]
        sent = sent or [("files.papers", ("", b""))]
        return self.stand.client.post(self.address, data=data, files=sent)

    def uploads(self, value: str) -> dict[str, dict[str, Any]]:
        """What the panel has of a posted field, by name."""
        items = json.loads(value)["items"]
        return {
            item["filename"]: self.stand.json(f"/files/upload/{id_}") for id_, item in items.items()
        }


def offered(answer: httpx.Response, field: str) -> str:
    """The value that the form of an answer has for a field."""
    found = re.search(rf'name="field\.{field}" value="([^"]*)"', answer.text)
    assert found is not None
    return found[1].replace("&#34;", '"')


def wrong(answer: httpx.Response) -> list[str]:
    """What the form of an answer says is wrong with its fields."""
    lists = re.findall(r'<ul class="wrong"[^>]*>(.*?)</ul>', answer.text, re.DOTALL)
    return [each for one in lists for each in re.findall(r"<li>(.*?)</li>", one)]


@pytest.fixture
def service(panel: Stand, start: Callable[..., Any]) -> Service:
    return serve(panel, start)


def serve(stand: Stand, start: Callable[..., Any]) -> Service:
    posted: list[dict[str, Any]] = []

    async def answer(request: Request) -> Response:
        elements = FORM.get_model()
        if request.method == "GET":
            return JSONResponse({"elements": elements})
        posted.append(await request.json())
        return JSONResponse({"elements": elements, "errors": {"title": ["not today"]}})

    paths = {"openapi.json": document({"/go": {"get": operation("Takes files")}}), "go": answer}
    _, url = start(**paths)
    [item] = register(stand, f"{url}/openapi.json")
    return Service(stand, item["uid"], posted)


def test_the_form_of_a_service_takes_files_without_scripts(service: Service) -> None:
    html = service.stand.client.get(service.address).text
    assert re.search(r'<form id="launch" method="post" enctype="multipart/form-data"', html)
    assert re.search(r'<input type="file" [^>]*name="files\.papers" [^>]*multiple', html)
    assert re.search(r'<input type="file" [^>]*name="file\.cover"', html)


def test_files_of_a_form_are_uploads_that_the_service_gets_the_names_of(service: Service) -> None:
    large = bytes(range(256)) * 4096 * 5
    answer = service.post(
        ("files.papers", "a.txt", b"first"),
        ("files.papers", "box/large.bin", large),
        ("files.papers", "empty", b""),
        ("file.cover", "cover.png", b"c"),
    )
    assert (answer.status_code, wrong(answer)) == (422, ["not today"])
    [posted] = service.posted
    assert posted["title"] == "t"
    sizes = {name: row["size"] for name, row in service.uploads(posted["papers"]).items()}
    assert sizes == {"a.txt": 5, "box/large.bin": len(large), "empty": 0}
    assert service.uploads(posted["cover"])["cover.png"]["size"] == 1
    # The form keeps them, so that they need not be chosen again.
    assert offered(answer, "papers") == posted["papers"]
    assert answer.text.count('name="leave-out.papers"') == 3
    run = service.stand.run().begin()
    value = json.loads(posted["papers"])
    done = service.stand.client.post(
        f"/files/complete/{run.fid}/{value['batchId']}/in", json=value["items"]
    )
    assert done.status_code == 201, done.text
    got = service.stand.client.get(f"/files/{run.fid}/in/box/large.bin")
    assert got.content == large


def test_the_same_form_with_the_same_files_is_the_same_launch(service: Service) -> None:
    key = str(uuid4())
    for content in (b"1", b"1", b"2"):
        service.post(("files.papers", "a.txt", content), kodosumi_key=key)
    first, again, other = (each["papers"] for each in service.posted)
    assert first == again
    assert json.loads(other)["batchId"] != json.loads(first)["batchId"]


def test_what_was_chosen_earlier_stays_is_left_out_or_replaced(service: Service) -> None:
    before = service.post(("files.papers", "a.txt", b"a"), ("files.papers", "b.txt", b"b"))
    papers, cover = (
        offered(before, "papers"),
        offered(service.post(("file.cover", "x", b"x")), "cover"),
    )
    more = service.post(
        ("files.papers", "c.txt", b"c"),
        ("files.papers", "B.TXT", b"another b"),
        ("file.cover", "y", b"y"),
        field_papers=papers,
        field_cover=cover,
        **{"leave-out_papers": "a.txt"},
    )
    assert wrong(more) == ["B.TXT is there already"]
    assert service.uploads(offered(more, "papers")).keys() == {"b.txt", "c.txt"}
    assert service.uploads(offered(more, "cover")).keys() == {"y"}
    none = service.post(field_papers=papers, **{"leave-out_papers": ["a.txt", "b.txt"]})
    assert none.status_code == 422
    assert service.posted[-1]["papers"] == ""


def test_a_field_where_nothing_is_chosen_is_empty(service: Service) -> None:
    part = 'Content-Disposition: form-data; name="{}"\r\n\r\n{}\r\n--b'
    fields = [part.format(f"field.{name}", "") for name in ("title", "papers", "cover")]
    nothing = 'file.cover"; filename="'  # as browsers say it
    body = "\r\n".join(["--b", *fields, part.format(nothing, "")]) + "--\r\n"
    headers = {"Content-Type": "multipart/form-data; boundary=b"}
    service.stand.client.post(service.address, content=body.encode(), headers=headers)
    assert service.posted == [{"title": "", "papers": "", "cover": ""}]


def test_names_that_no_file_can_have_are_told_at_the_field(service: Service) -> None:
    for name in ("../a", "/etc/passwd", "CON", "a\\b", "n" * 300, "trailing.", "\u202exe.txt"):
        asked = len(service.posted)
        answer = service.post(("files.papers", name, b"x"), field_title="kept")
        [told] = wrong(answer)
        assert "file name" in told and len(service.posted) == asked, name
        assert 'value="kept"' in answer.text
        assert offered(answer, "papers") == ""


def refuse(file: UploadedFile) -> None:
    if b"bad" in b"".join(file.open()):
        raise FileRefusedError("it is bad")


@pytest.fixture
def limited(
    settings: Settings, start_panel: Callable[..., Stand], start: Callable[..., Any]
) -> Iterator[Service]:
    """A service of a panel of narrow limits."""
    limits = {
        "file_bytes": 1000,
        "execution_files": 3,
        "execution_file_bytes": 1500,
        "owner_file_bytes": 2000,
        "file_scan": f"{__name__}:refuse",
    }
    yield serve(start_panel(settings.model_copy(update=limits)), start)


def test_limits_hold_while_files_come_in(limited: Service) -> None:
    def told(*sizes: int, content: bytes = b"x") -> list[str]:
        asked = len(limited.posted)
        files = [("files.papers", f"{n}.txt", content * size) for n, size in enumerate(sizes)]
        answer = limited.post(*files, field_title="kept")
        assert (answer.status_code, len(limited.posted)) == (422, asked)
        assert 'value="kept"' in answer.text
        return wrong(answer)

    [large] = told(200_000, 10)
    assert large.startswith("0.txt: ") and "(file_bytes)" in large
    [more] = told(1, 800, 800)
    assert more.startswith("2.txt: ") and "(execution_file_bytes)" in more
    [many] = told(1, 1, 1, 1)
    assert "(execution_files)" in many
    [bad] = told(1, content=b"bad")
    assert "it is bad" in bad
    limited.post(("files.papers", "a", b"a" * 700))
    [full] = told(900)
    assert "(owner_file_bytes)" in full
    # Nothing is left of what was refused, and nothing stands twice.
    storage = storage_of(limited.stand.settings)
    assert sorted(each.size for each in storage.contents("uploads")) == [1, 1, 1, 1, 10, 700, 800]


def test_a_storage_that_is_away_is_told_at_the_field(
    service: Service, monkeypatch: pytest.MonkeyPatch
) -> None:
    depot = service.stand.app.state.panel.files

    async def away() -> None:
        raise UnavailableError("the storage is away")

    monkeypatch.setattr(depot, "storage", away)
    assert wrong(service.post(("files.papers", "a", b"a"))) == ["a: the storage is away"]


@pytest.mark.parametrize(
    ("kind", "body", "told"),
    [
        ("multipart/form-data", b"x", "no boundary"),
        ("multipart/form-data; boundary=b", b"nothing of a form", "no multipart form"),
        ("multipart/form-data; boundary=b", b"--b\r\n", "broke off"),
        (
            "multipart/form-data; boundary=b",
            b'--b\r\nContent-Disposition: form-data; name="files.papers"; filename="a"\r\n\r\nx',
            "broke off",
        ),
        (
            "multipart/form-data; boundary=b",
            b"--b\r\nContent-Disposition: form-data\r\n\r\nx\r\n--b--",
            "no name",
        ),
    ],
)
def test_what_is_no_form_is_refused(service: Service, kind: str, body: bytes, told: str) -> None:
    answer = service.stand.client.post(
        service.address, content=body, headers={"Content-Type": kind}
    )
    assert (answer.status_code, told in answer.text) == (400, True), answer.text
    assert not service.posted


def test_fields_of_a_form_are_bounded(service: Service) -> None:
    large = service.post(("files.papers", "a", b"a"), field_title="x" * 9 * 1024**2)
    assert large.status_code == 413
    address = f"{service.address}/favourite"  # takes no files, and reads no more than others
    other = service.stand.client.post(address, files={"a": ("a", b"x" * 9 * 1024**2)})
    assert other.status_code == 413


async def test_a_file_comes_in_pieces_as_it_arrives() -> None:
    head = b'--b\r\nContent-Disposition: form-data; name="f"; filename="a"\r\n\r\n'
    taken = 0

    async def receive() -> dict[str, Any]:
        nonlocal taken
        taken += 1
        if taken == 1:
            return {"type": "http.request", "body": head, "more_body": True}
        if taken <= 1000:
            return {"type": "http.request", "body": b"x" * 65536, "more_body": True}
        return {"type": "http.request", "body": b"\r\n--b--\r\n", "more_body": False}

    headers = [(b"content-type", b"multipart/form-data; boundary=b")]
    request = Request({"type": "http", "method": "POST", "headers": headers}, receive)
    [size] = [size async for size in _sizes(request, lambda: taken)]
    assert size == 999 * 65536


async def _sizes(request: Request, taken: Callable[[], int]) -> Any:
    async for part in parts(request):
        size = 0
        async for piece in part.pieces:
            size += len(piece)
            assert size >= (taken() - 2) * 65536  # nothing is read ahead
        yield size


def test_an_answer_to_a_question_brings_its_files(panel: Stand) -> None:
    model = forms.Model(forms.InputFiles("papers", "Papers", required=True, max_bytes=5))
    run, lid = panel.run().begin(topic="x"), str(uuid4())
    told = {"name": "more", "lid": lid, "data": None, "expires": time.time() + 60}
    run.say("lock", serialize(told | {"elements": model.get_model()}))
    page = f"/waiting/{run.fid}/{lid}"
    assert 'enctype="multipart/form-data"' in panel.client.get(page).text

    def post(name: str, content: bytes) -> httpx.Response:
        files = {"file.papers": (name, content)}
        return panel.client.post(page, data={"field.papers": ""}, files=files)

    assert "5 at most" in wrong(post("a.txt", b"123456"))[0]
    assert "file name" in wrong(post("../a.txt", b"1"))[0]
    assert panel.json(f"/files/{run.fid}/in") == []
    assert post("a.txt", b"12345").status_code == 303
    assert panel.client.get(f"/files/{run.fid}/in/a.txt").content == b"12345"
