"""Files of a run through the panel: by the token of the run, and by nothing else."""

import hashlib
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any
from uuid import uuid4

import httpx
import psycopg
import pytest
from pydantic import SecretStr

from kodosumi_prefect import Tracer, flow
from kodosumi_prefect.database.rows.files import FileTotals
from kodosumi_prefect.events import Kind
from kodosumi_prefect.files.limits import FileLimitError
from kodosumi_prefect.files.names import Direction
from kodosumi_prefect.files.record import StoredFile, payload_of
from kodosumi_prefect.files.tokens import TOKEN_HEADER, token_for
from kodosumi_prefect.keys import make_secret
from kodosumi_prefect.run_files.panel_place import PanelPlace
from kodosumi_prefect.run_files.places import FilesAwayError, NewContent
from kodosumi_prefect.settings import Settings, use_settings
from tests.panel.panel_runs import Run, Stand
from tests.panel.test_panel_files import Files
from tests.services import Place
from tests.waiting import wait_for

BIG = 3 * 1024**2 + 7


@pytest.fixture
def run(panel: Stand) -> Run:
    return panel.run(owner=panel.json("/role")[0]["id"]).begin()


@pytest.fixture
def remote(panel: Stand, run: Run) -> Iterator[PanelPlace]:
    made = PanelPlace(run.fid, panel.url, token_for(run.fid, panel.settings))
    yield made
    made.close()


def emit(run: Run, path: str, content: NewContent) -> None:
    file = StoredFile(path, *content, "text/plain")
    run.put(run.event(Kind.UPLOAD, payload_of([file])))


def test_a_process_elsewhere_stores_lists_and_reads(
    panel: Stand, run: Run, remote: PanelPlace
) -> None:
    assert remote.totals() == FileTotals(0, 0)
    pieces = [b" " * 65536] * 48 + [b"7 bytes"]  # blank, as what is JSON may begin
    written = remote.write(iter(pieces))
    assert (written.size, written.sha256) == (BIG, hashlib.sha256(b"".join(pieces)).hexdigest())
    assert list(remote.listed(Direction.OUT)) == []
    emit(run, "out/dir/ü.txt", written)
    emit(run, "out/empty", remote.write(iter(())))
    [file, empty] = remote.listed(Direction.OUT)
    assert (file.path, file.size, empty.size) == ("out/dir/ü.txt", BIG, 0)
    assert [each.path for each in remote.listed(Direction.OUT, "dir")] == ["out/dir/ü.txt"]
    assert remote.at(Direction.OUT, "DIR/Ü.txt") == file
    assert remote.at(Direction.IN, "dir/ü.txt") is None
    assert remote.totals() == FileTotals(2, BIG)
    assert b"".join(remote.read(file)) == b"".join(pieces)
    assert b"".join(remote.read(empty)) == b""
    run.put(run.event(Kind.UPLOAD, payload_of(removed=["out/empty"])))
    with pytest.raises(FileNotFoundError):
        list(remote.read(empty))
    rows = panel.json("/audit", params={"limit": 500})["items"]
    assert [row for row in rows if run.fid in str(row)] == []


def test_many_files_are_listed_page_by_page(run: Run, remote: PanelPlace) -> None:
    key = remote.write(iter([b"x"]))
    files = [StoredFile(f"out/{number:04}", *key, "text/plain") for number in range(2001)]
    run.put(run.event(Kind.UPLOAD, payload_of(files)))
    assert [file.path for file in remote.listed(Direction.OUT)] == [file.path for file in files]


def answers(client: httpx.Client, fid: str, token: str | None) -> dict[str, int]:
    """What each route for runs answers to a token."""
    headers = {} if token is None else {TOKEN_HEADER: token}
    requests = {
        "listed": ("GET", f"/run-files/{fid}/listed?direction=out"),
        "at": ("GET", f"/run-files/{fid}/at?direction=out&comparable=x"),
        "totals": ("GET", f"/run-files/{fid}/totals"),
        "contents": ("POST", f"/run-files/{fid}/contents"),
        "bind": ("POST", f"/run-files/{fid}/bind"),
        "listing": ("GET", f"/files/{fid}/out"),
        "download": ("GET", f"/files/{fid}/out/x.txt"),
    }
    return {
        name: client.request(method, path, headers=headers).status_code
        for name, (method, path) in requests.items()
    }


def test_a_token_is_good_for_its_own_execution_while_that_runs(panel: Stand, run: Run) -> None:
    nobody = panel.connect()
    own = token_for(run.fid, panel.settings)
    good = answers(nobody, run.fid, own)
    assert good == {
        **dict.fromkeys(("listed", "at", "totals", "bind", "listing"), 200),
        "contents": 201,
        "download": 404,
    }
    other = panel.run().begin()
    assert set(answers(nobody, other.fid, own).values()) == {403}
    for wrong in ("x", own[:-4] + "AAAA", ""):
        assert set(answers(nobody, run.fid, wrong).values()) == {401}, wrong
    assert set(answers(nobody, run.fid, None).values()) == {401}
    foreign = panel.settings.model_copy(update={"data_dir": panel.settings.data_dir / "other"})
    make_secret(foreign)
    assert set(answers(nobody, run.fid, token_for(run.fid, foreign)).values()) == {401}
    run.finish()
    assert set(answers(nobody, run.fid, own).values()) == {403}


def test_a_token_opens_nothing_else(panel: Stand, run: Run) -> None:
    nobody = panel.connect()
    headers = {TOKEN_HEADER: token_for(run.fid, panel.settings)}
    for method, path in (
        *(("GET", f"/outputs/status/{run.fid}"), ("GET", "/timeline/list"), ("GET", "/role")),
        *(("DELETE", f"/files/{run.fid}/out"), ("DELETE", f"/files/{run.fid}/out/x")),
        *(("POST", "/files/init_batch"), ("POST", f"/files/complete/{run.fid}/{uuid4()}/in")),
        *(("GET", f"/files/upload/{uuid4()}"), ("DELETE", f"/files/cancel/{uuid4()}")),
        ("GET", f"/api/dashboard/execution/{run.fid}/files"),
    ):
        answer = nobody.request(method, path, headers=headers)
        assert answer.status_code == 401, (method, path)


def test_an_account_is_no_run(panel: Stand, run: Run) -> None:
    assert panel.get(f"/run-files/{run.fid}/totals").status_code == 401


def contents(panel: Stand) -> set[str]:
    return {key.name for key in (panel.settings.data_dir / "files").rglob("*") if key.is_file()}


def test_what_breaks_off_or_is_too_large_leaves_nothing(
    settings: Settings, start_panel: Callable[..., Stand]
) -> None:
    panel = start_panel(settings.model_copy(update={"file_bytes": 200_000}))
    run = panel.run().begin()
    headers = {TOKEN_HEADER: token_for(run.fid, panel.settings)}
    before = contents(panel)
    path = f"/run-files/{run.fid}/contents"
    told = panel.connect().post(path, content=bytes(200_001), headers=headers)
    assert (told.status_code, "file_bytes" in told.json()["detail"]) == (413, True)
    streamed = panel.connect().post(path, content=iter([bytes(150_000)] * 2), headers=headers)
    assert streamed.status_code == 413

    def breaking() -> Iterator[bytes]:
        yield bytes(100_000)
        raise InterruptedError

    with pytest.raises(InterruptedError):
        panel.connect().post(path, content=breaking(), headers=headers)
    fits = panel.connect().post(path, content=iter([bytes(100_000)] * 2), headers=headers)
    assert fits.status_code == 201
    key = fits.json()["key"].rpartition("/")[2]
    wait_for(lambda: contents(panel) - before == {key})


def test_what_an_owner_may_have_holds_for_runs_elsewhere(
    settings: Settings, start_panel: Callable[..., Stand]
) -> None:
    panel = start_panel(settings.model_copy(update={"owner_file_bytes": 1000}))
    owner = panel.json("/role")[0]["id"]
    first, run = (panel.run(owner=owner).begin() for _ in range(2))
    for each, name in ((first, "out/a"), (run, "out/b")):
        with PanelPlace(each.fid, panel.url, token_for(each.fid, panel.settings)) as place:
            emit(each, name, place.write([bytes(400)]))
            wait_for(lambda p=place: p.totals().files)
    with PanelPlace(run.fid, panel.url, token_for(run.fid, panel.settings)) as place:
        with pytest.raises(FileLimitError, match=r"800 of 1,000 at most \(owner_file_bytes\)"):
            place.write(iter([bytes(150), bytes(51)]))
        assert place.write([bytes(200)]).size == 200
    free = panel.run().begin()  # of nobody
    with PanelPlace(free.fid, panel.url, token_for(free.fid, panel.settings)) as place:
        assert place.write([bytes(5000)]).size == 5000


def test_what_a_run_was_launched_with_is_bound_for_it(panel: Stand, run: Run) -> None:
    sender = Files(panel.client)
    batch = sender.batch()
    sender.send(batch, "a.txt", b"for the run", b"!")
    with psycopg.connect(panel.database) as connection:
        connection.execute(
            "UPDATE kodosumi.upload_batch SET fid = %s WHERE id = %s", (run.fid, batch)
        )
    assert sender.init("late.txt", batch_id=batch).status_code == 409
    headers = {TOKEN_HEADER: token_for(run.fid, panel.settings)}
    asked = [panel.connect().post(f"/run-files/{run.fid}/bind", headers=headers) for _ in range(2)]
    assert [answer.status_code for answer in asked] == [200, 200]
    assert asked[0].json() == asked[1].json()
    assert [file["path"] for file in asked[0].json()["files"]] == ["in/a.txt"]
    assert sender.client.get(f"/files/{run.fid}/in/a.txt").content == b"for the run!"


def test_a_panel_that_is_away_is_named() -> None:
    place = PanelPlace(str(uuid4()), "http://127.0.0.1:9", "x")
    with pytest.raises(FilesAwayError, match=r"127.0.0.1:9 is not reached"):
        place.totals()
    place.close()


def test_a_flow_whose_machine_does_not_reach_the_storage_goes_through_the_panel(
    place: Place, start_panel: Callable[..., Stand], tmp_path: Path
) -> None:
    database = {"database_url": SecretStr(place.database)}
    panel = start_panel(place.settings.model_copy(update=database))
    elsewhere = {"file_storage_url": (tmp_path / "another").as_uri(), "panel_url": panel.url}

    @flow
    def leaves_through_the_panel(tracer: Tracer) -> Any:
        with tracer.fs_sync() as fs:
            fs.put("a/big.bin", (bytes(65536) for _ in range(40)))
            fs.put("gone.txt", "x")
            assert fs.remove("out/gone.txt")
            with pytest.raises(FileNotFoundError):
                fs.open("out/gone.txt").read_all()
            read = sum(len(piece) for piece in fs.open("out/a/big.bin").read())
            return [read, *(each["path"] for each in fs.ls("out"))]

    with use_settings(place.settings.model_copy(update=elsewhere)):
        recorded = place.run(leaves_through_the_panel)
    assert recorded.final == {"__list__": [{"int": 40 * 65536}, {"str": "out/a/big.bin"}]}
    assert Files(panel.client).names(recorded.fid, "out") == ["out/a/big.bin"]
    assert not (tmp_path / "another").exists() or not list((tmp_path / "another").rglob("*/*"))
