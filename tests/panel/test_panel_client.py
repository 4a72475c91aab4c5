"""The client for programs against a panel, also one that is cut off, killed and started anew."""

import asyncio
import hashlib
import multiprocessing
import os
import signal
import subprocess
import sys
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import closing
from itertools import islice
from pathlib import Path
from typing import Any

import pytest
from pydantic import SecretStr
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import HTMLResponse, JSONResponse, RedirectResponse, Response
from starlette.routing import Route

from kodosumi_prefect import forms
from kodosumi_prefect.client import (
    AnsweredError,
    AsyncClient,
    Client,
    DamagedError,
    Deletion,
    ExecutionChange,
    FieldsError,
    ForbiddenError,
    InvalidError,
    LockChange,
    NotFoundError,
    RefusedError,
    RestoredError,
    RunError,
    StoredFile,
    UnidentifiedError,
    UnreachableError,
)
from kodosumi_prefect.client import connection as connection_module
from kodosumi_prefect.client.sse import Reader
from kodosumi_prefect.client.transfer import CHUNK, PIECE
from kodosumi_prefect.client.values import decoded
from kodosumi_prefect.events import serialize
from kodosumi_prefect.response import Markdown
from kodosumi_prefect.settings import Settings
from tests.http_services import served_app
from tests.panel.cutting_proxy import CuttingProxy, cutting_proxy
from tests.panel.panel_process import free_port, panel_process
from tests.panel.panel_runs import Run, Stand, until
from tests.panel.test_panel_files import Files

NO_ONE = "00000000-0000-0000-0000-000000000000"
FORM = forms.Model(forms.InputText("word", label="Word", required=True))


@pytest.fixture(autouse=True)
def quick_tries(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(connection_module, "RETRY_FIRST", 0.01)
    monkeypatch.setattr(connection_module, "RETRY_MOST", 0.05)


@pytest.fixture
def client(panel: Stand) -> Iterator[Client]:
    with Client(panel.url, key=panel.token) as made:
        yield made


@pytest.fixture
def proxy(panel: Stand) -> Iterator[CuttingProxy]:
    with cutting_proxy(panel.url) as made:
        yield made


@pytest.fixture
def cut_off(panel: Stand, proxy: CuttingProxy) -> Iterator[Client]:
    """A client whose connections the proxy cuts."""
    with Client(proxy.url, key=panel.token) as made:
        yield made


def owned(panel: Stand, **header: Any) -> Run:
    return panel.run(owner=panel.json("/role")[0]["id"], **header).begin(word="x")


def ask(run: Run, lid: str, form: forms.Model | None = None) -> None:
    payload = {"name": "approve", "lid": lid, "data": None, "expires": time.time() + 600}
    if form is not None:
        payload["elements"] = form.get_model()
    run.say("lock", serialize(payload))


def test_events_are_followed_to_the_end(panel: Stand, client: Client) -> None:
    run = panel.run().begin(word="x").lines("one", "two\nlines").finish({"a": [1, None]})
    events = list(client.follow(run.fid))
    assert [event.seq for event in events] == list(range(1, 9))
    assert [e.value for e in events if e.kind == "stdout"] == ["one", "two\nlines"]
    assert events[1].value == {"word": "x"}
    assert [e.kind for e in client.follow(run.fid, after=6)] == ["final", "status"]
    assert abs(events[0].timestamp - time.time()) < 60


def test_a_stream_that_is_cut_again_and_again_loses_and_repeats_nothing(
    panel: Stand, proxy: CuttingProxy, cut_off: Client
) -> None:
    run = panel.run().begin().lines(*(f"line {i}" for i in range(400)))
    proxy.budget, proxy.growth = 500, 777  # of bytes: in the middle of heads and of events
    following = cut_off.follow(run.fid)
    seqs = [event.seq for event in islice(following, 300)]
    run.lines("one more").finish()
    seqs += [event.seq for event in following]
    assert seqs == list(range(1, run_length(panel, run) + 1))
    assert proxy.connections > 5


def run_length(panel: Stand, run: Run) -> int:
    return int(panel.json(f"/outputs/events/{run.fid}?limit=1000")["next"])


def test_a_position_beyond_the_end_is_said(panel: Stand, client: Client) -> None:
    run = panel.run().begin().finish()
    with pytest.raises(RestoredError, match="fewer events than 99"):
        list(client.follow(run.fid, after=99))
    with pytest.raises(RestoredError):
        next(client.changes(f"{2**60 + 1}:0:"))


def test_results_are_waited_for_and_failures_raise(panel: Stand, client: Client) -> None:
    run = panel.run(tags=["a"]).begin()
    with pytest.raises(TimeoutError):
        client.wait(run.fid, timeout=0.05)
    finishing = threading.Timer(0.1, lambda: run.finish({"a": 1}))
    finishing.start()
    assert client.result(run.fid) == {"a": 1}
    finishing.join()
    execution = client.status(run.fid)
    assert (execution.status, execution.over, execution.value) == ("finished", True, {"a": 1})
    failed = panel.run().begin().fail("Traceback\nValueError: no")
    with pytest.raises(RunError, match="ValueError: no") as caught:
        client.result(failed.fid)
    assert caught.value.fid == failed.fid


def test_envelopes_are_values_again() -> None:
    for value in ({"a": 1}, "text", 3, 1.5, True, [1, "a", [None]], None, Markdown("**x**")):
        assert decoded(serialize(value)) == value
    assert decoded("plain") == "plain"
    assert decoded('{"Report": {"title": "x"}}') == {"title": "x"}


def test_executions_are_listed_over_pages(panel: Stand, client: Client) -> None:
    fids = [panel.run(flow_name="of-clients", tags=["t"]).begin().fid for _ in range(3)]
    found = list(client.executions(flow="of-clients"))
    assert [one.fid for one in found] == fids[::-1]
    assert (found[0].status, found[0].tags) == ("running", ["t"])
    assert list(client.executions(flow="of-clients", status=["error", "finished"])) == []
    assert list(islice(client.pages("/timeline/list", flow="of-clients", pp=1), 2))


def test_a_lock_is_answered_once_and_refusals_have_kinds(panel: Stand, client: Client) -> None:
    run = owned(panel)
    ask(run, "a", FORM)
    [lock] = [each for each in client.locks() if each.fid == run.fid]
    assert (lock.lid, lock.name) == ("a", "approve")
    assert client.elements(run.fid, "a") == lock.elements
    with pytest.raises(FieldsError, match="word: ") as caught:
        client.answer(run.fid, "a", {"word": ""})
    assert list(caught.value.errors) == ["word"]
    assert caught.value.elements == lock.elements
    assert client.answer(run.fid, "a", {"word": "yes"}) == {"word": "yes"}
    with pytest.raises(AnsweredError, match="'approve' was answered already"):
        client.answer(run.fid, "a", {"word": "no"})
    with pytest.raises(NotFoundError):
        client.answer(run.fid, "unknown", {})
    ask(run, "b")
    run.finish()
    with pytest.raises(NotFoundError, match="over"):
        client.answer(run.fid, "b", {})


def test_an_answer_that_may_have_arrived_is_not_sent_again(
    panel: Stand, proxy: CuttingProxy, cut_off: Client
) -> None:
    run = owned(panel)
    ask(run, "a")
    proxy.budget = 0
    with pytest.raises(UnreachableError, match="does not answer"):
        cut_off.answer(run.fid, "a", {"ok": True})
    assert proxy.connections == 1
    until(lambda: client_status(panel, run) == "running")  # it had


def client_status(panel: Stand, run: Run) -> str:
    return str(panel.json(f"/outputs/status/{run.fid}")["status"])


def test_reading_goes_on_while_connections_are_cut(
    panel: Stand, proxy: CuttingProxy, cut_off: Client
) -> None:
    run = panel.run().begin()
    proxy.budget, proxy.growth = 10, 150
    assert cut_off.status(run.fid).status == "running"
    assert proxy.connections > 2


def test_who_may_not_is_told_so_with_the_panels_words(panel: Stand) -> None:
    with Client(panel.url, key="nonsense") as nobody, pytest.raises(UnidentifiedError):
        nobody.request("GET", "/locks")
    ann = panel.person(f"ann-{time.time_ns()}")
    with Client(panel.url, key=ann.token) as client:
        with pytest.raises(ForbiddenError, match="only operators may do this"):
            client.request("POST", "/flow/register", json={"url": "http://x/"})
        with pytest.raises(NotFoundError, match="there is no execution"):
            list(client.follow(owned_by_another(panel)))
        with pytest.raises(InvalidError, match="status"):
            list(client.executions(status=["x"]))


def owned_by_another(panel: Stand) -> str:
    return owned(panel).fid


@pytest.fixture(autouse=True)
def soon(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("kodosumi_prefect.panel.web.parameters.EXTENDED_WAIT", 0.1)


def test_a_login_is_begun_anew_when_it_ends(panel: Stand) -> None:
    name = f"bea-{time.time_ns()}"
    password = "a-long-password"
    body = {"name": name, "email": None, "password": password, "operator": False}
    panel.client.post("/role", json=body).raise_for_status()
    with Client(panel.url, login=(name, password)) as client:
        assert list(client.locks()) == []
        client._client._panel._key = "a session that has ended"
        assert list(client.locks()) == []
    with Client(panel.url, login=(name, "wrong")) as client, pytest.raises(UnidentifiedError):
        list(client.locks())


def test_an_address_and_a_key_come_from_the_environment(
    panel: Stand, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("PREFECT_INTEGRATIONS_KODOSUMI_PANEL_URL", raising=False)
    with pytest.raises(ValueError, match="PREFECT_INTEGRATIONS_KODOSUMI_PANEL_URL"):
        Client()
    monkeypatch.setenv("PREFECT_INTEGRATIONS_KODOSUMI_PANEL_URL", panel.url)
    monkeypatch.setenv("KODOSUMI_API_KEY", panel.token)
    with Client() as client:
        assert client.request("GET", "/locks")["items"] is not None


def test_changes_come_typed_and_go_on_from_their_position(
    panel: Stand, proxy: CuttingProxy, cut_off: Client
) -> None:
    begin = panel.json("/changes?wait=0")["next"]
    proxy.budget, proxy.growth = 300, 450
    changes = cut_off.changes(begin)
    runs = [owned(panel) for _ in range(5)]
    got = list(islice(changes, 5))
    assert [change.fid for change in got] == [run.fid for run in runs]
    assert all(isinstance(change, ExecutionChange) for change in got)
    ask(runs[0], "a")
    awaiting, lock = islice(changes, 2)
    assert (awaiting.status, lock.status) == ("awaiting", "open")  # type: ignore[union-attr]
    assert isinstance(lock, LockChange)
    with closing(cut_off.changes(got[2].position, kind=["execution"])) as later:  # type: ignore[type-var]
        assert [change.fid for change in islice(later, 3)] == [
            *(run.fid for run in runs[3:]),
            runs[0].fid,
        ]
    assert proxy.connections > 3
    assert Deletion.of({"fid": "x", "kind": "deletion"}, position="1:0:").fid == "x"


def test_a_panel_that_is_killed_and_started_anew_is_followed_on(
    settings: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    secret = settings.model_copy(update={"secret_key": SecretStr("k" * 40)})
    monkeypatch.setenv("PREFECT_INTEGRATIONS_KODOSUMI_SECRET_KEY", "k" * 40)
    monkeypatch.setenv("PREFECT_INTEGRATIONS_KODOSUMI_ADMIN_PASSWORD", "a-long-password")
    assert secret.database_url is not None
    port = free_port()
    run = Run(secret.database_url.get_secret_value())
    login = ("admin", "a-long-password")
    with closing(run), Client(f"http://127.0.0.1:{port}", login=login) as client:
        with panel_process(secret, port) as panel:
            run.begin().lines("one")
            events = client.follow(run.fid)
            changes = client.changes("0")
            assert [event.seq for event in islice(events, 5)] == [1, 2, 3, 4, 5]
            assert next(changes).fid == run.fid
            panel.kill()
            panel.wait(20)
        run.lines("while it was away")
        with panel_process(secret, port):
            run.finish("over")
            assert [event.seq for event in events] == [6, 7, 8]
            change = next(changes)
            assert (change.fid, change.status) == (run.fid, "finished")  # type: ignore[union-attr]
            assert client.result(run.fid) == "over"


def test_patience_ends(panel: Stand) -> None:
    with Client("http://127.0.0.1:9", key="k", patience=0.05) as client:
        for call in (lambda: client.status("x"), lambda: next(client.follow("x"))):
            with pytest.raises(UnreachableError, match=":9 does not answer"):
                call()


CONTENT = os.urandom(3 * PIECE + 5)


def test_a_download_goes_on_over_cut_connections(
    panel: Stand, proxy: CuttingProxy, cut_off: Client, tmp_path: Path
) -> None:
    run = owned(panel)
    Files(panel.client).put(run.fid, "out/r/a.bin", CONTENT)
    proxy.budget, proxy.growth = PIECE + 1000, PIECE // 4
    told: list[int] = []
    saved = cut_off.download(run.fid, "out/r/a.bin", tmp_path, advance=told.append)
    assert saved == tmp_path / "a.bin"
    assert hashlib.sha256(saved.read_bytes()).digest() == hashlib.sha256(CONTENT).digest()
    assert sum(told) == len(CONTENT)
    assert [each.name for each in tmp_path.iterdir()] == ["a.bin"]
    assert 2 < proxy.connections < 12
    with pytest.raises(FileNotFoundError, match="no file out/b"):
        cut_off.download(run.fid, "out/b", tmp_path)
    [stored] = cut_off.files(run.fid, "out")
    partial = tmp_path / f"b.{stored.sha256[:8]}.partial"
    partial.write_bytes(b"y" * len(CONTENT))
    with pytest.raises(DamagedError):
        cut_off.download(run.fid, stored, tmp_path / "b")


def test_an_upload_goes_on_over_cut_connections(
    panel: Stand, proxy: CuttingProxy, cut_off: Client, tmp_path: Path
) -> None:
    content = os.urandom(CHUNK) * 2 + b"rest"
    (tmp_path / "folder").mkdir()
    (tmp_path / "folder" / "large.bin").write_bytes(content)
    (tmp_path / "folder" / "empty").write_bytes(b"")
    run = owned(panel)
    proxy.budget, proxy.growth = 100, 60  # of answers, so that requests have arrived
    stored = cut_off.upload(run.fid, tmp_path / "folder")
    assert {(each.path, each.size) for each in stored} == {
        ("in/folder/empty", 0),
        ("in/folder/large.bin", len(content)),
    }
    got = panel.get(f"/files/{run.fid}/in/folder/large.bin").content
    assert got == content
    assert proxy.connections > 5
    with pytest.raises(FileNotFoundError):
        cut_off.upload(run.fid, tmp_path / "nothing")


async def test_all_of_it_is_there_for_asyncio(panel: Stand) -> None:
    run = await asyncio.to_thread(owned, panel)
    async with AsyncClient(panel.url, key=panel.token) as client:

        async def follow() -> list[int]:
            return [event.seq async for event in client.follow(run.fid)]

        following = asyncio.create_task(follow())
        await asyncio.to_thread(run.finish, "x")
        assert await client.result(run.fid) == "x"
        assert await following == list(range(1, 7))
        assert run.fid in {one.fid async for one in client.executions()}


def test_an_interrupted_call_is_cancelled(panel: Stand, client: Client) -> None:
    run = panel.run().begin()
    events = client.follow(run.fid)
    assert next(events).seq == 1
    streams = panel.app.state.panel.streams
    until(lambda: len(streams) == 1)
    events.close()  # type: ignore[attr-defined]
    until(lambda: len(streams) == 0)


def test_a_call_that_is_interrupted_ends_its_stream(panel: Stand, client: Client) -> None:
    def interrupt(*_: object) -> None:
        raise KeyboardInterrupt

    # Ctrl-C itself ends the session.
    before = signal.signal(signal.SIGUSR2, interrupt)
    run = panel.run().begin()
    events = client.follow(run.fid)
    assert len(list(islice(events, 4))) == 4
    interrupting = threading.Timer(0.1, os.kill, [os.getpid(), signal.SIGUSR2])
    interrupting.start()
    with pytest.raises(KeyboardInterrupt):
        next(events)
    interrupting.join()
    signal.signal(signal.SIGUSR2, before)
    until(lambda: len(panel.app.state.panel.streams) == 0)
    assert client.status(run.fid).status == "running"


def test_importing_it_imports_neither_prefect_nor_ray() -> None:
    program = (
        "import sys, threading, kodosumi_prefect.client as c\n"
        "c.Client('http://127.0.0.1:9')\n"
        "heavy = {'prefect', 'ray', 'psycopg', 'fastapi', 'sqlalchemy', 'obstore'}\n"
        "print(sorted(heavy & set(sys.modules)), threading.active_count())"
    )
    done = subprocess.run(
        [sys.executable, "-c", program], capture_output=True, text=True, timeout=60
    )
    assert done.stdout.split("\n")[0] == "[] 1", done.stderr


def test_a_client_that_is_not_closed_does_not_keep_the_process_alive(panel: Stand) -> None:
    program = (
        "from kodosumi_prefect.client import Client\n"
        f"print(len(list(Client({panel.url!r}, key={panel.token!r}).locks())) >= 0)"
    )
    done = subprocess.run(
        [sys.executable, "-c", program], capture_output=True, text=True, timeout=60
    )
    assert (done.returncode, done.stdout) == (0, "True\n"), done.stderr


def test_an_address_that_is_not_the_panels_is_said_to_be_none() -> None:
    """Of a proxy that leads to https, or to where people sign in; of another web server."""

    async def elsewhere(request: Request) -> Response:
        if request.url.path.startswith("/flow"):
            return HTMLResponse("<p>Welcome!</p>")
        return RedirectResponse(f"https://sign-in.example{request.url.path}", 301)

    app = Starlette(routes=[Route("/{path:path}", elsewhere, methods=["GET", "POST"])])
    with served_app(app) as url, Client(url, key="k") as client:
        asked: list[Callable[[], object]] = [
            lambda: client.status(NO_ONE),
            lambda: client.launch("/-/x", {}),
            lambda: list(client.follow(NO_ONE)),
        ]
        for ask in asked:
            with pytest.raises(RefusedError, match=r"leads to https://sign-in.example/; give the"):
                ask()
        with pytest.raises(RefusedError, match=r"answers text/html.* in place of JSON"):
            list(client.endpoints())


def test_what_is_away_for_a_moment_is_asked_again_to_sign_in_and_for_files(tmp_path: Path) -> None:
    tries: Counter[str] = Counter()

    async def busy_at_first(request: Request) -> Response:
        path = request.url.path
        tries[path] += 1
        if tries[path] == 1:
            return Response("<p>Bad gateway</p>", 502)
        if path == "/api/login":
            return JSONResponse({"KODOSUMI_API_KEY": "k"})
        return Response(b"abc")

    app = Starlette(routes=[Route("/{path:path}", busy_at_first, methods=["GET", "POST"])])
    digest = hashlib.sha256(b"abc").hexdigest()
    file = StoredFile(path="out/a", size=3, last_modified=0.0, sha256=digest)
    with served_app(app) as url, Client(url, login=("ann", "password")) as client:
        assert client.download(NO_ONE, file, tmp_path).read_bytes() == b"abc"
    assert tries == {"/api/login": 2, f"/files/{NO_ONE}/out/a": 2}


def test_a_client_works_in_a_process_that_was_forked(panel: Stand, client: Client) -> None:
    run = panel.run().begin(word="x").finish()
    assert client.status(run.fid).status == "finished"
    context = multiprocessing.get_context("fork")

    def ask() -> None:
        os._exit(0 if client.status(run.fid).status == "finished" else 1)

    process = context.Process(target=ask)
    process.start()
    process.join(20)
    process.kill()
    assert process.exitcode == 0
    assert client.status(run.fid).status == "finished"


@pytest.mark.parametrize("size", [1, 2, 7, 1000])
def test_server_sent_events_are_read_however_they_are_cut(size: int) -> None:
    text = "event: a\nid: 1\ndata: x\ndata: ü\n\nid: 2\n\nevent: b\nid: 3\ndata: cut".encode()
    reader = Reader("0")
    found = []
    for start in range(0, len(text), size):
        found += reader.read(text[start : start + size])
    assert found == [("a", "1", "x\nü")]
    assert reader.id == "2"  # the last one is not whole
