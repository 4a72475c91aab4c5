"""Services that the panel runs itself: what of their faults and answers reaches whom."""

import asyncio
import json
import resource
import sys
import time
from collections.abc import Iterator
from typing import Any

import httpx
import pytest

from kodosumi_prefect.panel.services.request_body import LARGEST
from tests.panel.impatient import failure, impatient
from tests.panel.panel_runs import Stand, serving, until

MODULE = """
import asyncio
import sys
import threading
import time

from fastapi import BackgroundTasks, FastAPI, Request
from fastapi.responses import RedirectResponse, StreamingResponse

from kodosumi_prefect.http import identity
from kodosumi_prefect.settings import Settings

app = FastAPI()
marked = {"openapi_extra": {"x-kodosumi": True}}
log = []

@app.get("/who", **marked)
async def who(request: Request):
    caller = await identity.verify(request, Settings())
    return {"id": caller.user_id, "name": caller.username, "base": caller.base,
            "url": caller.panel_url, "headers": request.headers.items(),
            "query": request.url.query, "path": request.url.path}

@app.post("/echo", **marked)
async def echo(request: Request):
    return {"size": len(await request.body())}

@app.get("/blocks", **marked)
async def blocks():
    time.sleep(7)

@app.get("/sync", **marked)
def sync():
    time.sleep(7)
    log.append("sync")

@app.get("/hangs", **marked)
async def hangs():
    try:
        await asyncio.sleep(100)
    except asyncio.CancelledError:
        log.append("cancelled")
        raise

@app.get("/raises", **marked)
async def raises():
    raise ValueError("a secret of the service")

@app.get("/after", **marked)
async def after(tasks: BackgroundTasks):
    async def later():
        await asyncio.sleep(0.2)
        log.append("after")
    tasks.add_task(later)

@app.get("/exits", **marked)
async def exits():
    sys.exit(3)

@app.get("/moves", **marked)
async def moves():
    return RedirectResponse("/who")

@app.get("/large", **marked)
async def large():
    async def pieces():
        for _ in range(200):
            yield bytes(1024 * 1024)
    return StreamingResponse(pieces(), media_type="text/plain")

@app.get("/endless", **marked)
async def endless():
    async def pieces():
        try:
            while True:
                yield b"x"
                await asyncio.sleep(0.01)
        finally:
            log.append("stopped")
    return StreamingResponse(pieces(), media_type="text/plain")
"""


BASE = "/-/panel/0/mounted_proxied:app"


@pytest.fixture(scope="module")
def mounted(tmp_path_factory: pytest.TempPathFactory, postgres: Any) -> Iterator[Stand]:
    """A panel that runs a service itself."""
    folder = tmp_path_factory.mktemp("mounted")
    (folder / "mounted_proxied.py").write_text(MODULE)
    sys.path.insert(0, str(folder))
    settings = impatient(postgres, "of_mounted_tests", tmp_path_factory.mktemp("panel"))
    changes = {"services": ["mounted_proxied:app"]}
    try:
        with serving(settings.model_copy(update=changes)) as stand:
            yield stand
    finally:
        sys.path.remove(str(folder))
        sys.modules.pop("mounted_proxied", None)


def test_a_mounted_service_knows_who_asks(mounted: Stand):
    person = mounted.person("Noé")
    got = person.client.get(f"{BASE}/-/who?a=1", headers={"x-kodosumi_user": "mallory"}).json()
    assert (got["id"], got["name"]) == (person.id, "Noé")
    assert (got["base"], got["url"]) == (BASE, mounted.url)
    assert (got["path"], got["query"]) == ("/who", "a=1")
    names = [name for name, _ in got["headers"]]
    assert "kodosumi_api_key" not in names and "mallory" not in json.dumps(got)


def test_a_mounted_service_gets_bodies(mounted: Stand):
    def post(content: Any) -> httpx.Response:
        return mounted.client.post(f"{BASE}/-/echo", content=content)

    assert post(b"x" * 5_000_000).json() == {"size": 5_000_000}
    assert post(iter([b"ab", b"c"])).json() == {"size": 3}
    assert post(b"").json() == {"size": 0}
    failure(post(b"x" * (LARGEST + 1)), 413)
    failure(post(iter([b"x" * LARGEST, b"x"])), 413)


@pytest.mark.parametrize(("path", "times"), [("blocks", 3), ("sync", 50)])
def test_a_mounted_service_that_blocks_holds_up_itself_only(mounted: Stand, path: str, times: int):
    async def ask() -> tuple[httpx.Response, float]:
        headers = {"KODOSUMI_API_KEY": mounted.token}
        async with httpx.AsyncClient(
            base_url=mounted.url, headers=headers, timeout=20, trust_env=False
        ) as client:
            blocked = [asyncio.create_task(client.get(f"{BASE}/-/{path}")) for _ in range(times)]
            slowest = 0.0
            for _ in range(20):
                await asyncio.sleep(0.02)
                began = time.monotonic()
                assert (await client.get("/livez")).status_code == 200
                assert (await client.get("/flow")).status_code == 200
                slowest = max(slowest, time.monotonic() - began)
            return (await asyncio.gather(*blocked))[0], slowest

    answer, slowest = asyncio.run(ask())
    assert "mounted_proxied" in failure(answer, 504)
    assert slowest < 3.5

    def answers() -> bool:
        return mounted.get(f"{BASE}/-/who").status_code == 200

    until(answers, 60)


def test_a_mounted_service_that_hangs_is_cancelled(mounted: Stand):
    assert "mounted_proxied" in failure(mounted.get(f"{BASE}/-/hangs"), 504)
    until(lambda: "cancelled" in sys.modules["mounted_proxied"].log)


def test_a_mounted_service_that_raises_is_logged_with_a_number(
    mounted: Stand, caplog: pytest.LogCaptureFixture
):
    for path in ("raises", "exits"):
        answer = mounted.get(f"{BASE}/-/{path}")
        assert answer.status_code >= 500 and "secret" not in answer.text
        assert "Traceback" not in answer.text
    assert "a secret of the service" in caplog.text
    assert mounted.get(f"{BASE}/-/who").status_code == 200
    failure(mounted.get(f"{BASE}/-/moves"), 502)


def test_a_mounted_service_may_go_on_after_its_answer(mounted: Stand):
    assert mounted.connect(mounted.token).get(f"{BASE}/-/after").status_code == 200
    until(lambda: "after" in sys.modules["mounted_proxied"].log)


def test_a_mounted_service_streams(mounted: Stand):
    size = 0
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    with mounted.client.stream("GET", f"{BASE}/-/large") as answer:
        for piece in answer.iter_raw():
            size += len(piece)
    assert size == 200 * 1024 * 1024
    assert resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before < 40 * 1024
    with mounted.client.stream("GET", f"{BASE}/-/endless") as answer:
        next(answer.iter_raw())
    until(lambda: "stopped" in sys.modules["mounted_proxied"].log)
