"""A service in its three ways of being served, and its client, over real HTTP."""

import json
import shutil
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from functools import partial
from typing import Any

import httpx
import pytest

from kodosumi_prefect.runner.ray_client import token_environment
from kodosumi_prefect.stack.ports import free_port
from tests.e2e.running import BIN, PASSWORD, REPOSITORY, Up
from tests.e2e.test_files_in_forms import upload
from tests.waiting import wait_for

POINTS = {"title": "Maintenance", "audience": "all", "points": "on Sunday\nfrom 6 to 8"}
UNDER_RAY_SERVE = """
import os, sys
import ray
from ray import serve
from flows import document_digest, review

own = {
    "working_dir": sys.argv[3],
    "excludes": [".*", "tests"],
    "env_vars": {name: value for name, value in os.environ.items() if "PREFECT_" in name},
}
ray.init(address=sys.argv[1], namespace="serve", log_to_driver=False, runtime_env=own)
serve.start(http_options={"host": "127.0.0.1", "port": int(sys.argv[2])})

@serve.deployment(ray_actor_options={"num_cpus": 0})
@serve.ingress(document_digest.app)
class Digest:
    pass

@serve.deployment(ray_actor_options={"num_cpus": 0})
@serve.ingress(review.app)
class Review:
    pass

serve.run(Digest.bind(), name="digest", route_prefix="/digest")
serve.run(Review.bind(), name="review", route_prefix="/review")
print("ready", flush=True)
sys.stdin.read()
serve.shutdown()
"""


def endpoint(up: Up, summary: str) -> dict[str, Any]:
    """The registered endpoint of that summary."""
    items = up.client.get("/flow", params={"pp": 100}).raise_for_status().json()["items"]
    found = [item for item in items if item["summary"] == summary]
    assert found, items
    return dict(found[-1])


def test_login_flow_post_stream_and_an_answered_lock_work_by_curl_alone(up: Up):
    if shutil.which("curl") is None:
        pytest.skip("there is no curl")

    def curl(*words: str, key: str | None = None) -> str:
        head = ["-H", f"KODOSUMI_API_KEY: {key}"] if key else []
        done = subprocess.run(
            ["curl", "-sS", "--noproxy", "*", "--max-time", "60", *head, *words],
            capture_output=True,
            text=True,
            check=True,
        )
        return done.stdout

    body = json.dumps({"name": "admin", "password": PASSWORD})
    signed_in = curl(f"{up.panel}/api/login", "-H", "Content-Type: application/json", "-d", body)
    key = json.loads(signed_in)["KODOSUMI_API_KEY"]
    items = json.loads(curl(f"{up.panel}/flow?pp=100", key=key))["items"]
    url = next(item["url"] for item in items if item["summary"] == "Draft and review")
    form = json.loads(curl(f"{up.panel}{url}", key=key))
    assert "points" in [element.get("name") for element in form["elements"]]
    wrong = json.loads(curl(f"{up.panel}{url}", "-d", "title=x", key=key))
    assert "points" in wrong["errors"]
    fields = [
        word for name, value in POINTS.items() for word in ("--data-urlencode", f"{name}={value}")
    ]
    fid = json.loads(curl(f"{up.panel}{url}", *fields, key=key))["result"]

    def open_locks() -> list[dict[str, Any]]:
        status = json.loads(curl(f"{up.panel}/outputs/status/{fid}?extended=true", key=key))
        assert status["status"] != "error", status
        return list(status["locks"])

    wait_for(open_locks, 90, "the review to ask")
    status = json.loads(curl(f"{up.panel}/outputs/status/{fid}", key=key))
    assert status["status"] == "awaiting"
    mine = json.loads(curl(f"{up.panel}/locks", key=key))
    [lid] = [lock["lid"] for lock in mine["items"] if lock["fid"] == fid]
    lock = f"{up.panel}/lock/{fid}/{lid}"
    assert "decision" in curl(lock, key=key)
    refused = json.loads(curl(lock, "-d", "decision=revise", key=key))
    assert "comments" in refused["errors"]
    answered = json.loads(curl(lock, "-d", "decision=approve", "-d", "comments=fine", key=key))
    assert answered["result"] == {"approved": True, "comments": "fine"}
    up.until(fid, "finished", 60)
    stream = curl("-N", f"{up.panel}/outputs/stream/{fid}", key=key)
    kinds = [line.removeprefix("event: ") for line in stream.splitlines() if line[:6] == "event:"]
    assert kinds[-1] == "eof"
    assert kinds.index("lock") < kinds.index("lease") < kinds.index("final")
    assert "Approved as draft 1" in curl(f"{up.panel}/outputs/raw/{fid}", key=key)
    assert curl("-o", "/dev/null", "-w", "%{http_code}", f"{up.panel}/flow") == "401"


def test_a_mounted_service_runs_on_ray(up: Up):
    url = endpoint(up, "Digest a document")["url"]
    digested(up, url)


def test_a_service_under_uvicorn_is_registered_and_launched(up: Up):
    with under_uvicorn(up) as address:
        registered(up, f"{address}/openapi.json")
        found = [item for item in services(up) if item["source"].startswith(address)]
        assert len(found) == 1
        documents_digested(up, found[0]["url"])
        unsigned = httpx.post(f"{address}/", data={"sample": "gettysburg"})
        assert unsigned.status_code == 401


def test_services_under_ray_serve_bring_their_own_runtime_env_and_answer_for_their_locks(up: Up):
    with under_ray_serve(up) as address:
        registered(up, f"{address}/-/routes")
        found = {
            item["summary"]: item["url"]
            for item in services(up)
            if item["source"].startswith(address)
        }
        assert sorted(found) == ["Digest a document", "Draft and review"]
        documents_digested(up, found["Digest a document"])
        reviewed(up, found["Draft and review"])


def services(up: Up) -> list[dict[str, Any]]:
    return list(up.client.get("/flow", params={"pp": 100}).raise_for_status().json()["items"])


def registered(up: Up, url: str) -> None:
    answer = up.client.post("/flow/register", json={"url": url}, timeout=60)
    assert answer.is_success, answer.text


def digested(up: Up, url: str) -> None:
    """Launch the digest of a sample, and see it to its end."""
    inputs = {"sample": "gettysburg", "language": "en", "parts": "2", "sentences": "1"}
    answer = up.client.post(url, data=inputs, timeout=60)
    assert answer.is_success, answer.text
    fid = answer.json()["result"]
    status = up.until(fid, "finished", 120)
    assert "Gettysburg" in status["final"]
    events = up.events(fid)
    assert [event["seq"] for event in events] == list(range(1, len(events) + 1))
    assert status["username"] == "admin"


def documents_digested(up: Up, url: str) -> None:
    """Launch the digest of an uploaded document, whose name the service's handler sees."""
    text = b"# Crossings\n\nA stone bridge stands. A stone bridge carries. It rained."
    inputs = {"files": upload(up, notes_md=text), "language": "en", "parts": "1", "sentences": "1"}
    beside = {"sample": "gettysburg"}
    refused = up.client.post(url, data=inputs | beside, timeout=60).raise_for_status().json()
    assert "beside a text or sample" in refused["errors"]["files"][0]
    answer = up.client.post(url, data=inputs, timeout=60)
    assert answer.is_success, answer.text
    fid = answer.json()["result"]
    status = up.until(fid, "finished", 120)
    final = json.loads(status["final"])["Markdown"]["body"]
    assert final.startswith("# notes.md") and "stone bridge" in final
    files = [
        file["path"]
        for direction in ("in", "out")
        for file in up.client.get(f"/files/{fid}/{direction}").raise_for_status().json()
    ]
    assert files == ["in/notes.md", "out/report.docx", "out/report.md"]
    assert up.client.get(f"/files/{fid}/out/report.md").text == final
    assert up.client.get(f"/files/{fid}/in/notes.md").content == text


def reviewed(up: Up, url: str) -> None:
    """Launch a review, and answer its lock by the form that the service makes for it."""
    fid = up.client.post(url, data=POINTS, timeout=60).raise_for_status().json()["result"]
    up.until(fid, "awaiting", 120)
    items = up.client.get("/locks").raise_for_status().json()["items"]
    [lid] = [lock["lid"] for lock in items if lock["fid"] == fid]
    form = up.client.get(f"/lock/{fid}/{lid}", timeout=30).raise_for_status().text
    assert "decision" in form and "Maintenance" in form
    refused = up.client.post(f"/lock/{fid}/{lid}", data={"decision": "revise"}, timeout=30)
    assert "comments" in refused.json()["errors"]
    answer = {"decision": "approve", "comments": "fine"}
    up.client.post(f"/lock/{fid}/{lid}", data=answer, timeout=30).raise_for_status()
    assert "Approved as draft 1" in up.until(fid, "finished", 60)["final"]


@contextmanager
def under_uvicorn(up: Up) -> Iterator[str]:
    """The digest served by uvicorn; where."""
    port = free_port()
    with process(
        up,
        [sys.executable, "-m", "uvicorn", "flows.document_digest:app", "--port", str(port)],
    ):
        address = f"http://127.0.0.1:{port}"
        wait_for(lambda: is_there(f"{address}/openapi.json"), 60, "uvicorn")
        yield address


@contextmanager
def under_ray_serve(up: Up) -> Iterator[str]:
    """Digest and review served by Ray Serve on the stack's cluster; where."""
    port = free_port()
    ray = json.loads((up.data_dir / "run" / "ray.json").read_text())
    script = [sys.executable, "-c", UNDER_RAY_SERVE, ray["address"], str(port), str(REPOSITORY)]
    with process(up, script, token_environment(ray["token_path"])):
        address = f"http://127.0.0.1:{port}"
        for name in ("digest", "review"):
            document = f"{address}/{name}/openapi.json"
            wait_for(partial(is_there, document), 120, "Ray Serve")
        yield address


@contextmanager
def process(up: Up, command: list[str], more: dict[str, str] | None = None) -> Iterator[None]:
    """Run a service as somebody else would start it; its stdin closes to end it."""
    environment = up.environment | (more or {})
    environment["PREFECT_INTEGRATIONS_KODOSUMI_PANEL_URL"] = up.panel
    environment["PATH"] = f"{BIN}:{environment['PATH']}"
    running = subprocess.Popen(
        command, env=environment, cwd=REPOSITORY, stdin=subprocess.PIPE, text=True
    )
    try:
        yield
    finally:
        assert running.stdin is not None
        running.stdin.close()
        if "uvicorn" in command:
            running.terminate()
        try:
            running.wait(60)
        except subprocess.TimeoutExpired:
            running.kill()
            running.wait()
            raise


def is_there(url: str) -> bool:
    try:
        return httpx.get(url, timeout=5, trust_env=False).is_success
    except httpx.HTTPError:
        return False
