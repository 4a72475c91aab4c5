"""Files in the fields of forms: chosen, dropped, uploaded, cancelled, and lost networks."""

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple

import pytest
from playwright.sync_api import BrowserContext, Locator, Page, Route, expect
from starlette.requests import Request
from starlette.responses import JSONResponse, Response

from kodosumi_prefect import forms
from kodosumi_prefect.vocabulary import SCHEDULE_HEADER
from tests.browser.conftest import NewContext
from tests.browser.looking import Complaints, sideways, violations
from tests.http_services import served_app
from tests.panel.faulty_services import Faulty, document, operation
from tests.panel.panel_runs import Stand

FORM = forms.Model(
    forms.InputText("title", label="Title"),
    forms.InputFiles(
        "papers",
        label="Papers",
        required=True,
        multiple=True,
        accept=".txt,.bin,image/*",
        max_bytes=12 * 1024**2,
        max_files=3,
    ),
    forms.InputFiles("folder", label="Folder", directory=True),
    forms.InputFiles("cover", label="Cover"),
)


class Asked(NamedTuple):
    """The page of a service, and what it was sent."""

    page: Page
    posted: list[dict[str, Any]]
    stand: Stand

    def field(self, label: str) -> Locator:
        return self.page.locator(".files").filter(has=self.page.get_by_label(label, exact=False))

    def choose(self, label: str, *files: Any) -> Locator:
        box = self.field(label)
        box.locator("input[type=file]").set_input_files(list(files))
        return box

    def send(self) -> dict[str, Any]:
        """Press the button; what the service got."""
        before = len(self.posted)
        with self.page.expect_response(lambda answer: answer.request.method == "POST"):
            self.page.get_by_role("button", name="Run now").click()
        expect(self.page.get_by_text("not today")).to_be_visible()
        assert len(self.posted) == before + 1
        return self.posted[-1]

    def uploaded(self, value: str) -> dict[str, dict[str, Any]]:
        """What the panel has of a posted field, by name."""
        items = json.loads(value)["items"]
        return {
            item["filename"]: self.stand.json(f"/files/upload/{id_}") for id_, item in items.items()
        }


@pytest.fixture
def context(new_context: NewContext, stand: Stand) -> BrowserContext:
    return new_context(stand, color_scheme="light")


@pytest.fixture
def asked(context: BrowserContext, stand: Stand) -> Iterator[Asked]:
    """A service that takes nothing, and so lets the form stand."""
    posted: list[dict[str, Any]] = []

    async def answer(request: Request) -> Response:
        elements = FORM.get_model()
        if request.method == "GET":
            return JSONResponse({"elements": elements})
        rule = request.headers.get(SCHEDULE_HEADER)
        posted.append(await request.json() | ({"rule": json.loads(rule)} if rule else {}))
        return JSONResponse({"elements": elements, "errors": {"title": ["not today"]}})

    service = Faulty(**{"openapi.json": document({"/go": {"get": operation("Takes files")}})})
    service.answers["/go"] = answer
    page = context.new_page()
    with served_app(service.app) as url:
        found = stand.client.post("/flow/register", json={"url": f"{url}/openapi.json"})
        [item] = found.raise_for_status().json()
        page.goto(f"/services/{item['uid']}")
        yield Asked(page, posted, stand)


def file(name: str, content: bytes, kind: str = "text/plain") -> dict[str, Any]:
    return {"name": name, "mimeType": kind, "buffer": content}


def test_several_files_and_a_folder_are_uploaded_when_they_are_chosen(
    asked: Asked, tmp_path: Path
) -> None:
    (tmp_path / "box" / "deep").mkdir(parents=True)
    (tmp_path / "box" / "a.txt").write_text("a")
    (tmp_path / "box" / "deep" / "b.txt").write_text("b")
    large = bytes(range(256)) * (9 * 1024**2 // 256)
    papers = asked.choose(
        "Papers", file("one.txt", b"1"), file("empty.txt", b""), file("large.bin", large)
    )
    expect(papers.locator("li[data-state=done]")).to_have_count(3)
    expect(papers.get_by_role("status")).to_contain_text("is uploaded")
    folder = asked.field("Folder")
    folder.locator("input[type=file]").set_input_files(tmp_path / "box")
    expect(folder.locator("li[data-state=done]")).to_have_count(2)
    posted = asked.send()
    uploads = asked.uploaded(posted["papers"])
    assert {name: len(row["chunks"]) or row["size"] for name, row in uploads.items()}.keys() == {
        "one.txt",
        "empty.txt",
        "large.bin",
    }
    assert uploads["large.bin"]["total_chunks"] == 3
    assert uploads["large.bin"]["received_bytes"] == len(large) or uploads["large.bin"][
        "size"
    ] == len(large)
    assert asked.uploaded(posted["folder"]).keys() == {"box/a.txt", "box/deep/b.txt"}
    assert posted["cover"] == ""
    # The form came back with what was wrong; the files are still there, and go along again.
    expect(asked.field("Papers").locator("li[data-state=done]")).to_have_count(3)
    assert asked.page.locator(".files input[name]:not([type=hidden])").count() == 0
    assert json.loads(asked.send()["papers"]) == json.loads(posted["papers"])


def test_what_the_field_does_not_take_is_not_uploaded(asked: Asked) -> None:
    papers = asked.choose(
        "Papers", file("a.exe", b"MZ", "application/x-dosexec"), file("b.txt", b"b")
    )
    expect(papers.locator("li")).to_have_count(1)
    expect(papers.get_by_role("alert")).to_contain_text("a.exe: only .txt,.bin,image/*")
    asked.choose("Papers", file("c.txt", b"x" * (12 * 1024**2 + 1)))
    expect(papers.get_by_role("alert")).to_contain_text("c.txt: 12.0 MiB, at most 12.0 MiB")
    asked.choose("Papers", file("b.txt", b"again"))
    expect(papers.get_by_role("alert")).to_contain_text("is there already")
    asked.choose("Papers", *(file(f"{n}.txt", b"n") for n in range(3)))
    expect(papers.get_by_role("alert")).to_contain_text("at most 3 files")
    expect(papers.locator("li[data-state=done]")).to_have_count(3)
    cover = asked.choose("Cover", file("x", b"1"))
    asked.choose("Cover", file("y", b"2"))
    expect(cover.locator("li")).to_have_count(1)
    expect(cover.locator("li[data-state=done]")).to_contain_text("y")
    asked.choose("Cover", file("CON", b"3"))
    expect(cover.locator("li[data-state=failed]")).to_contain_text("name of a device")
    asked.page.get_by_role("button", name="Run now").click()
    expect(cover.get_by_role("status")).to_contain_text("remove it")
    assert asked.posted == []
    cover.get_by_role("button", name="Remove CON").click()
    expect(cover.locator("input[type=file]")).to_be_focused()
    assert asked.send()["cover"] == ""


def test_an_upload_can_be_cancelled_and_a_file_removed(asked: Asked) -> None:
    held: list[Route] = []
    asked.page.route("**/files/chunk", lambda route: held.append(route))
    papers = asked.choose("Papers", file("slow.bin", b"x" * 5_000_000))
    expect(papers.locator("li[data-state=uploading]")).to_have_count(1)
    cancel = papers.get_by_role("button", name="Cancel slow.bin")
    with asked.page.expect_request("**/files/cancel/*") as cancelled:
        cancel.click()
    gone = cancelled.value.response()
    assert gone is not None and gone.status == 204
    expect(papers.locator("li")).to_have_count(0)
    asked.page.unroute("**/files/chunk")
    asked.choose("Papers", file("slow.bin", b"short"), file("b.txt", b"b"))
    expect(papers.locator("li[data-state=done]")).to_have_count(2)
    papers.get_by_role("button", name="Remove b.txt").click()
    uploads = asked.uploaded(asked.send()["papers"])
    assert uploads.keys() == {"slow.bin"}


def test_an_upload_cancelled_as_it_begins_is_forgotten_by_the_panel_too(asked: Asked) -> None:
    held: list[Route] = []
    asked.page.route("**/files/init", lambda route: held.append(route), times=1)
    with asked.page.expect_request("**/files/init"):
        papers = asked.choose("Papers", file("early.bin", b"x" * 100))
    papers.get_by_role("button", name="Cancel early.bin").click()
    expect(papers.locator("li")).to_have_count(0)
    with asked.page.expect_request("**/files/cancel/*") as cancelled:
        held[0].continue_()
    gone = cancelled.value.response()
    assert gone is not None and gone.status == 204
    asked.choose("Papers", file("early.bin", b"y"))
    expect(papers.locator("li[data-state=done]")).to_have_count(1)
    assert asked.uploaded(asked.send()["papers"])["early.bin"]["size"] == 1


def test_a_lost_network_only_makes_it_later(
    asked: Asked, context: BrowserContext, complaints: Complaints
) -> None:
    complaints.expected += ["ERR_INTERNET_DISCONNECTED", "ERR_FAILED", "htmx:"]
    chunks: list[bytes] = []

    def lossy(route: Route) -> None:
        """The first goes through, then the network is away."""
        chunks.append(route.request.post_data_buffer or b"")
        if len(chunks) == 1:
            route.continue_()
        else:
            route.abort("internetdisconnected")

    asked.page.route("**/files/chunk", lossy)
    content = bytes(range(256)) * (9 * 1024**2 // 256)
    papers = asked.choose("Papers", file("large.bin", content))
    expect(papers.locator(".state")).to_contain_text("waiting for the panel")
    # Pressed now, the button waits for the file.
    asked.page.get_by_role("button", name="Run now").click()
    expect(papers.get_by_role("status")).to_contain_text("as soon as all files are uploaded")
    assert asked.posted == []
    context.set_offline(True)
    asked.page.unroute("**/files/chunk")
    expect(papers.locator("li[data-state=uploading]")).to_have_count(1)
    context.set_offline(False)
    expect(asked.page.get_by_text("not today")).to_be_visible()
    [posted] = asked.posted
    [row] = asked.uploaded(posted["papers"]).values()
    assert row["size"] in (None, len(content)) and row["received_bytes"] in (0, len(content))


def test_the_field_suits_everybody(asked: Asked, new_context: NewContext) -> None:
    page = asked.page
    papers = asked.choose("Papers", file("a-" + "long" * 30 + ".txt", b"1"), file("b.txt", b"2"))
    expect(papers.locator("li[data-state=done]")).to_have_count(2)
    asked.choose("Papers", file("c.exe", b"", "application/x-dosexec"))
    for scheme in ("light", "dark"):
        page.emulate_media(color_scheme=scheme)  # type: ignore[arg-type]
        assert violations(page) == []
    page.set_viewport_size({"width": 360, "height": 800})
    assert sideways(page) == 0
    # By keyboard alone: the button of the first file, which is removed, and that of the next one.
    papers.locator("input[type=file]").focus()
    page.keyboard.press("Tab")
    expect(papers.get_by_role("button", name="Remove a-")).to_be_focused()
    page.keyboard.press("Enter")
    expect(papers.get_by_role("button", name="Remove b.txt")).to_be_focused()
    expect(papers.get_by_role("status")).to_contain_text("is removed")


def test_files_can_be_dropped(asked: Asked) -> None:
    papers = asked.field("Papers")
    transfer = asked.page.evaluate_handle(
        "() => { const all = new DataTransfer(); all.items.add(new File(['x'], 'dropped.txt'));"
        " return all; }"
    )
    papers.dispatch_event("dragover", {"dataTransfer": transfer})
    papers.dispatch_event("drop", {"dataTransfer": transfer})
    expect(papers.locator("li[data-state=done]")).to_contain_text("dropped.txt")
    assert asked.uploaded(asked.send()["papers"]).keys() == {"dropped.txt"}


def test_without_scripts_files_go_with_the_form(
    asked: Asked, new_context: NewContext, tmp_path: Path
) -> None:
    (tmp_path / "box" / "deep").mkdir(parents=True)
    (tmp_path / "box" / "deep" / "b.txt").write_text("b")
    plain = new_context(asked.stand, java_script_enabled=False).new_page()
    plain.goto(asked.page.url)
    form = Asked(plain, asked.posted, asked.stand)
    papers = form.choose("Papers", file("one.txt", b"1"), file("two.txt", b"22"))
    form.field("Folder").locator("input[type=file]").set_input_files(tmp_path / "box")
    form.choose("Cover", file("c.png", b"c", "image/png"))
    posted = form.send()
    sizes = {name: row["size"] for name, row in form.uploaded(posted["papers"]).items()}
    assert sizes == {"one.txt": 1, "two.txt": 2}
    assert form.uploaded(posted["folder"]).keys() == {"box/deep/b.txt"}
    # The form came back with them; one is left out, the cover is replaced.
    papers.locator("li").filter(has_text="one.txt").get_by_label("leave out").check()
    form.choose("Cover", file("d.png", b"d", "image/png"))
    again = form.send()
    assert form.uploaded(again["papers"]).keys() == {"two.txt"}
    assert form.uploaded(again["cover"]).keys() == {"d.png"}


def test_without_scripts_what_is_filled_in_is_scheduled(
    asked: Asked, new_context: NewContext
) -> None:
    plain = new_context(asked.stand, java_script_enabled=False).new_page()
    plain.goto(asked.page.url)
    form = Asked(plain, asked.posted, asked.stand)
    plain.get_by_label("Title").fill("Every night")
    form.choose("Papers", file("one.txt", b"1"))
    expect(plain.locator("#schedule")).to_be_hidden()
    plain.locator("noscript summary").click()
    when = plain.locator("noscript .schedule")
    when.get_by_label("By cron").check()
    when.get_by_label("Cron", exact=True).fill("30 2 * * *")
    assert sideways(plain) == 0
    when.get_by_role("button", name="Save schedule").click()
    expect(plain.get_by_text("not today")).to_be_visible()
    [posted] = asked.posted
    assert posted["title"] == "Every night"
    assert form.uploaded(posted["papers"]).keys() == {"one.txt"}
    assert posted["rule"]["cron"] == "30 2 * * *"
    # What was typed of the schedule stands, too, and is told in words.
    expect(when.locator(".preview")).to_contain_text("02:30")
    expect(when.get_by_label("Cron", exact=True)).to_have_value("30 2 * * *")
