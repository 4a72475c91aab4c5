"""Scripts of the docs, run as they stand: blocks of ``shell``, whose lines belong together."""

import os
import re
import shlex
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from tests.documented import PAGES, TOP
from tests.e2e.running import BIN, Up
from tests.waiting import wait_for

pytestmark = pytest.mark.timeout(300)
BLOCK = re.compile(r"^```shell\n(.*?)^```$", re.M | re.S)
CURL = TOP / "docs" / "files-by-curl.md"
INGEST = TOP / "docs" / "ingest.md"
TRACE = TOP / "docs" / "trace.md"
# What any program does that is set up by OpenTelemetry's variables.
EXPORTING = """
from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export import SimpleSpanProcessor

provider = TracerProvider()
provider.add_span_processor(SimpleSpanProcessor(OTLPSpanExporter()))
with provider.get_tracer("elsewhere").start_as_current_span("said elsewhere"):
    pass
provider.shutdown()
"""
CLIENT = TOP / "docs" / "client.md"
PROGRAM = re.compile(r"^```python\n(.*?)^```$", re.M | re.S)


def blocks(page: Path) -> list[str]:
    return BLOCK.findall(page.read_text())


def run(script: str, folder: Path, **variables: str) -> str:
    """What a script prints; it fails where one of its commands does."""
    path = f"{BIN}{os.pathsep}{os.environ['PATH']}"
    done = subprocess.run(
        ["bash", "-euo", "pipefail", "-c", script],
        env={**os.environ, "PATH": path, **variables},
        cwd=folder,
        capture_output=True,
        text=True,
        timeout=120,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


def finished(up: Up) -> str:
    fid = up.run("ticking/test", ticks=1)
    up.until(fid, "finished")
    return fid


def test_only_pages_whose_scripts_are_run_have_scripts() -> None:
    assert {page for page in PAGES if blocks(page)} == {CURL, INGEST, TRACE}


def test_files_go_in_and_out_by_curl(up: Up, tmp_path: Path) -> None:
    begin, send, _, fetch, _, remove = blocks(CURL)  # by URLs: see test_files_in_a_bucket
    fid = finished(up)
    key = up.client.post("/keys", json={"name": "by curl"}).raise_for_status().json()["key"]
    for name, value in (("PANEL", up.panel), ("KEY", key), ("FID", fid)):
        begin = re.sub(rf"^{name}=\S+.*$", f"{name}={value}", begin, flags=re.M)
    content = os.urandom(6_000_000)
    (tmp_path / "report.pdf").write_bytes(content)
    run(begin + send, tmp_path)
    assert up.client.get(f"/files/{fid}/in/report.pdf").content == content
    # What comes out of a run is made by its code; here it is sent there.
    run("rm part.*\n" + begin + send.replace("/$BATCH/in", "/$BATCH/out"), tmp_path)
    (tmp_path / "report.pdf").unlink()
    broken_off = "truncate -s 1000 report.pdf\n"
    printed = run(begin + fetch.replace("ask -C -", broken_off + "ask -C -"), tmp_path)
    assert (tmp_path / "report.pdf").read_bytes() == content
    assert '"path":"out/report.pdf"' in printed.replace(" ", "")
    run(begin + remove.splitlines()[0], tmp_path)
    assert up.client.get(f"/files/{fid}/out").json() == []


def test_a_script_elsewhere_says_things_into_a_run(up: Up, tmp_path: Path) -> None:
    [script] = blocks(INGEST)
    fid = finished(up)
    written = re.search(
        r"^```python\n(from kodosumi_prefect import Tracer\n.*?)^```$",
        INGEST.read_text(),
        re.M | re.S,
    )
    assert written is not None
    (tmp_path / "says_something.py").write_text(
        written[1].replace("tracer.file_sync", "# tracer.file_sync")
    )
    script = script.replace("https://panel.example.org", up.panel).replace("0192d6bb", fid)
    key = up.client.post("/keys", json={"name": "elsewhere"}).raise_for_status().json()["key"]
    elsewhere = {"PREFECT_INTEGRATIONS_KODOSUMI_DATA_DIR": str(tmp_path / "elsewhere")}
    run(script, tmp_path, KODOSUMI_API_KEY=key, **elsewhere)
    said = [event["payload"] for event in up.events(fid) if event["kind"] == "result"]
    assert any("# Checked by hand" in payload for payload in said)


def test_an_exporter_elsewhere_sends_spans_into_a_run(up: Up, tmp_path: Path) -> None:
    [exports] = blocks(TRACE)
    fid = finished(up)
    key = up.client.post("/keys", json={"name": "exporter"}).raise_for_status().json()["key"]
    script = exports.replace("https://panel.example.org", up.panel)
    script += f"{shlex.quote(sys.executable)} -c {shlex.quote(EXPORTING)}\n"
    run(script, tmp_path, KEY=key, FID=fid, NO_PROXY="*")
    trace = up.client.get(f"/outputs/trace/{fid}").raise_for_status().json()
    assert "said elsewhere" in str(trace)


@pytest.fixture
def asking(up: Up, tmp_path: Path) -> dict[str, str]:
    """The environment of a program that asks the panel, and nothing else of the stack."""
    key = up.client.post("/keys", json={"name": "a program"}).raise_for_status().json()["key"]
    where = {"PREFECT_INTEGRATIONS_KODOSUMI_PANEL_URL": up.panel, "KODOSUMI_API_KEY": key}
    nowhere = {"PREFECT_INTEGRATIONS_KODOSUMI_DATA_DIR": str(tmp_path / "none")}
    return {"PATH": os.environ["PATH"], **where, **nowhere}


@contextmanager
def program(text: str, folder: Path, asking: dict[str, str]) -> Iterator["subprocess.Popen[str]"]:
    running = subprocess.Popen(
        [sys.executable, "-c", text], env=asking, cwd=folder, stdout=subprocess.PIPE, text=True
    )
    try:
        yield running
    finally:
        running.kill()
        running.communicate(timeout=20)


def test_programs_launch_answer_and_move_files(
    up: Up, tmp_path: Path, asking: dict[str, str]
) -> None:
    launching, moving, _ = PROGRAM.findall(CLIENT.read_text())
    (tmp_path / "report.txt").write_text("The tide rises. The tide falls. " * 40)
    (tmp_path / "notes").mkdir()
    (tmp_path / "notes" / "a.txt").write_text("a")
    for text in (launching, moving):
        with program(text, tmp_path, asking) as running:
            printed, _ = running.communicate(timeout=150)
        assert running.returncode == 0, printed
    assert (tmp_path / "results" / "in" / "report.txt").is_file()
    [fid] = {one["fid"] for one in up.client.get("/timeline/list?q=report.txt").json()["items"]}
    assert [one["path"] for one in up.client.get(f"/files/{fid}/in").json()] == [
        "in/notes/a.txt",
        "in/report.txt",
    ]


def test_a_program_that_is_started_again_is_told_what_came_meanwhile(
    up: Up, tmp_path: Path, asking: dict[str, str]
) -> None:
    text = PROGRAM.findall(CLIENT.read_text())[2]
    place = tmp_path / "position.txt"
    place.write_text(up.client.get("/changes?wait=0").json()["next"])
    fids = []
    for _ in range(2):
        fid = up.command("kodosumi-prefect", "launch", "Draft and review", "title=x", "points=y")
        fids.append(fid.split()[0])
        up.until(fids[-1], "awaiting")
        before = place.read_text()
        with program(text, tmp_path, asking) as running:
            assert running.stdout is not None
            told = running.stdout.readline()
            wait_for(lambda at=before: place.read_text() not in ("", at), 10, "a new position")
        assert f"/waiting/{fids[-1]}/" in told, told
    for fid in fids:
        up.command("kodosumi-prefect", "cancel", fid)
