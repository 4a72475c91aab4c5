"""Files of an execution in the browser: the tab, live, on a phone, and previews that never run."""

from pathlib import Path
from uuid import uuid4

from playwright.sync_api import Page, expect

from kodosumi_prefect.files.record import StoredFile, payload_of
from kodosumi_prefect.files.storage import storage_of
from tests.browser.conftest import NewContext
from tests.browser.faults import Scales, faults
from tests.panel.panel_runs import Run, Stand

LONG = "a-long-folder-of-many-words/" + "x" * 120 + ".md"
ATTACK = b"# Report\n\n<script>window.ran = true</script><img src=x onerror='window.ran = true'>"


def put(stand: Stand, run: Run, *files: tuple[str, bytes]) -> None:
    """Have a run have files, as its own process would."""
    storage, stored = storage_of(stand.settings), []
    for path, content in files:
        key = f"objects/{run.fid}/{uuid4()}"
        written = storage.write_whole(key, content, settled=False)
        stored.append(StoredFile(path, key, written.size, written.sha256, "text/plain"))
    run.say("upload", payload_of(stored))


def listed(page: Page) -> None:
    expect(page.locator("#files table, .of-files table").first).to_be_visible()


def test_files_are_legible_on_a_phone_come_live_and_never_run(
    new_context: NewContext, stand: Stand, tmp_path: Path
) -> None:
    run = stand.run(summary="Makes files").begin()
    put(stand, run, ("in/notes.txt", b"given"), (f"out/{LONG}", ATTACK), ("out/b.csv", b"a,b\n1,2"))
    page = new_context(stand, reduced_motion="reduce").new_page()
    here, scales = f"/executions/{run.fid}", Scales(page)
    found = {"tab": faults(page, f"{here}?tab=files", scales, listed)}
    found["page"] = faults(page, f"{here}/files", scales, listed)
    found["output"] = faults(page, here, scales)
    assert {name: wrong for name, wrong in found.items() if wrong} == {}

    page.set_viewport_size({"width": 1280, "height": 900})
    page.goto(here)
    expect(page.locator("#files-count")).to_have_text("3")
    put(stand, run, ("out/live.txt", b"live"))
    expect(page.locator("#output-list a", has_text="out/live.txt")).to_be_visible()
    expect(page.locator("#files-count")).to_have_text("4")
    page.get_by_role("tab", name="Files").click()
    row = page.locator("#files tr", has_text="live.txt")
    expect(row).to_be_visible()
    row.get_by_role("checkbox").check()
    with page.expect_download() as zipped:
        page.get_by_role("button", name="Download chosen").click()
    assert zipped.value.suggested_filename == f"{run.fid}.zip"
    page.get_by_role("tab", name="Log").click()
    expect(page.locator("#log-list .line.upload").last).to_contain_text(
        "uploaded out/live.txt (4 B)"
    )


def test_nothing_of_a_preview_runs(new_context: NewContext, stand: Stand) -> None:
    run = stand.run(summary="Makes files").begin()
    put(stand, run, ("out/a.md", ATTACK), ("out/b.csv", b"a,b\n1,2"), ("out/c.html", ATTACK))
    page = new_context(stand, reduced_motion="reduce").new_page()
    for name in ("a.md", "b.csv", "c.html"):
        page.goto(f"/executions/{run.fid}/files/out/{name}")
        expect(page.get_by_role("heading", name=f"out/{name}")).to_be_visible()
        assert page.locator("main :is(script, [onerror], img[src])").count() == 0
    page.goto(f"/executions/{run.fid}/files/out/a.md")
    with page.expect_download():
        page.get_by_role("link", name="Download").click()
