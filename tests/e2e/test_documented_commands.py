"""Every command of README and docs is run, but for those of which ``NOT_RUN`` says why not."""

import io
import os
import re
import shlex
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest
from prometheus_client.parser import text_string_to_metric_families

from tests.documented import PAGES, TOP, Line, lines
from tests.e2e.running import BIN, REPOSITORY, Up
from tests.e2e.terminal import Terminal
from tests.prefect_http import ask_prefect
from tests.waiting import wait_for

pytestmark = pytest.mark.filterwarnings("ignore:Cyclopts application invoked")

RUN = {page: told for page in PAGES if (told := [one for one in lines(page) if not one.reason])}
FIRST_RUN = TOP / "docs" / "first-run.md"
PASSWORD = "of somebody new"
BACKUPS = "/var/backups"  # as pages have it
# `curl` as on pages, but that a refusal is a failure.
CURL = 'curl() { command curl --fail-with-body --max-time 60 --show-error "$@"; }\n'


class Scene:
    """A stack with something of each kind that pages talk of: runs, a question, an API key."""

    def __init__(self, up: Up) -> None:
        self.up = up
        self.done: set[str] = set()  # commands that were run
        self.key = self.new_key()["key"]
        self.finished = up.run("ticking/test", ticks=1)
        up.until(self.finished, "finished")

    def variables(self, line: str) -> dict[str, str]:
        """What the reader puts in place of the names in capitals."""
        values = {"PASSWORD": os.environ["PREFECT_INTEGRATIONS_KODOSUMI_ADMIN_PASSWORD"]}
        values |= {"PANEL": self.up.panel, "DATA_DIR": str(self.up.data_dir)}
        values["URL"] = f"{self.up.panel}/-/panel/0/flows.review:app/-/"
        values |= {"KEY": self.key, "FID": self.finished}
        if "/lock/" in line or "answer FID" in line:
            values["FID"] = fid = self.review()
            values["LID"] = self.up.until(fid, "awaiting")["locks"][0]
        elif "cancel FID" in line:
            values["FID"] = self.up.run("ticking/test", ticks=1000)
            self.up.until(values["FID"], "running")
        elif "work-pool create" in line:
            ask(self.up, "DELETE", "work_pools/agents", gone=True)
        elif "revoke ID" in line:
            values["ID"] = self.new_key()["id"]
        return values

    def new_key(self) -> dict[str, Any]:
        return dict(self.up.client.post("/keys", json={"name": "of pages"}).json())

    def review(self) -> str:
        form = {"title": "Maintenance", "points": "on Sunday"}
        answer = self.up.client.post("/-/panel/0/flows.review:app/-/", json=form)
        return str(answer.json()["result"])


@pytest.fixture(scope="module")
def scene(up: Up) -> Iterator[Scene]:
    """What pages make in Prefect is gone afterwards: other tests count what is there."""
    before = made(up)
    yield Scene(up)
    for path in made(up) - before:
        ask(up, "DELETE", path, gone=True)


def ask(up: Up, method: str, path: str, *, gone: bool = False, **options: Any) -> httpx.Response:
    """Ask Prefect; ``gone``: what is not there need not be."""
    url = f"{up.environment['PREFECT_API_URL']}/{path}"
    answer = ask_prefect(method, url, auth=up.prefect_auth, **options)
    return answer if gone and answer.status_code == 404 else answer.raise_for_status()


def made(up: Up) -> set[str]:
    deployments = ask(up, "POST", "deployments/filter", json={}).json()
    pools = ask(up, "POST", "work_pools/filter", json={}).json()
    paths = {f"deployments/{one['id']}" for one in deployments}
    schedules = ((one["id"], each["id"]) for one in deployments for each in one["schedules"])
    paths |= {f"deployments/{one}/schedules/{each}" for one, each in schedules}
    return paths | {f"work_pools/{one['name']}" for one in pools}


@pytest.mark.parametrize("page", sorted({*RUN} - {FIRST_RUN}), ids=lambda page: page.stem)
def test_the_commands_of_a_page_run(
    page: Path,
    scene: Scene,
    terminal: Terminal,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    run_page(page, scene, terminal, tmp_path, monkeypatch)


def run_page(
    page: Path, scene: Scene, terminal: Terminal, folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """In a folder of its own, from top to bottom; what another page had already is not repeated."""
    monkeypatch.chdir(folder)
    (folder / "deployments").symlink_to(REPOSITORY / "deployments")
    for line in RUN[page]:
        if str(line.commands) not in scene.done:
            scene.done.add(str(line.commands))
            run(line, scene, terminal, folder, monkeypatch)


def run(
    line: Line, scene: Scene, terminal: Terminal, folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    values = scene.variables(line.text)
    text = line.text.replace(BACKUPS, str(folder))
    words = shlex.split(text, comments=True)
    if words[0] == "kodosumi-prefect" and len(line.commands) == 1:
        # In this process, which has imported everything already.
        monkeypatch.setattr("sys.stdin", io.StringIO(f"{PASSWORD}\n"))
        terminal(*(values.get(word, word) for word in words[1:]))
        return
    for name in ("FID", "ID"):
        text = text.replace(f" {name}", f" {values.get(name, name)}")
    environment = scene.up.environment | values
    environment["PATH"] = f"{BIN}{os.pathsep}{os.environ['PATH']}"
    done = subprocess.run(
        ["bash", "-euo", "pipefail", "-c", CURL + text],
        env=environment,
        cwd=folder,
        capture_output=True,
        text=True,
        timeout=120,
    )
    assert done.returncode == 0, f"{line}\n{done.stdout}{done.stderr}"


def test_the_first_ten_minutes_end_with_a_run_that_finished(
    scene: Scene, terminal: Terminal, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    run_page(FIRST_RUN, scene, terminal, tmp_path, monkeypatch)
    up = scene.up
    flow = ask(up, "GET", "deployments/name/word-report/weekdays").json()["flow_id"]
    of_flow = {"flows": {"id": {"any_": [flow]}}}

    def finished() -> bool:
        runs = ask(up, "POST", "flow_runs/filter", json=of_flow).json()
        return any(one["state_type"] == "COMPLETED" for one in runs)

    wait_for(finished, 90, "the run of the project that `init` made")


def test_metrics_are_those_of_the_reference(scene: Scene) -> None:
    table = re.findall(
        r"^\| `(\w+)` \| (\w+) \| (.*?) \| (.*?) \|$",
        (TOP / "docs" / "reference" / "metrics.md").read_text(),
        re.MULTILINE,
    )
    documented = {
        name: (kind, set(re.findall(r"`(\w+)`", labels)), meaning)
        for name, kind, labels, meaning in table
    }
    key = {"KODOSUMI_API_KEY": scene.key}

    def answered() -> dict[str, tuple[str, set[str], str]]:
        text = scene.up.client.get("/metrics", headers=key).raise_for_status().text
        return {
            family.name + ("_total" if family.type == "counter" else ""): (
                family.type,
                {label for sample in family.samples for label in sample.labels} - {"le"},
                family.documentation,
            )
            for family in text_string_to_metric_families(text)
            if family.name.startswith("kodosumi_")
        }

    wait_for(lambda: answered().keys() >= documented.keys(), 30, "every documented metric")
    found = answered()
    assert {name: one for name, one in found.items() if one != documented.get(name)} == {}
