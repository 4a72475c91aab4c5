"""`kodosumi-prefect up` in a process of its own, driven as a user would."""

import os
import signal
import subprocess
import sys
from collections.abc import Iterator, Mapping
from contextlib import closing, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx
import psutil

from kodosumi_prefect.addresses import recorded_access
from kodosumi_prefect.settings import Settings
from kodosumi_prefect.stack.embedded_postgres import EmbeddedPostgres
from tests import prefect_database
from tests.prefect_http import ask_prefect
from tests.waiting import wait_for

REPOSITORY = Path(__file__).parents[2]
FLOWS = Path(__file__).with_name("flows_under_test.py")
BIN = Path(sys.executable).parent
PASSWORD = "of the first operator"
# What whoever starts `up` exported: secrets of ours, one of Prefect's server, one for another
# Prefect, and one for flows.
EXPORTED = {
    "PREFECT_INTEGRATIONS_KODOSUMI_ADMIN_PASSWORD": PASSWORD,
    "PREFECT_INTEGRATIONS_KODOSUMI_SECRET_KEY": "a secret of more than thirty-two characters",
    "PREFECT_API_DATABASE_CONNECTION_URL": "sqlite+aiosqlite:////nowhere/another.db",
    "PREFECT_API_AUTH_STRING": "somebody:at another Prefect",
    "OPENAI_API_KEY": "a key of whoever runs flows",
}


@dataclass
class Up:
    """A running stack: where its panel is, and what other programs need to find it.

    Attributes:
        client: of the panel, signed in as its first operator.
    """

    panel: str
    client: httpx.Client
    environment: dict[str, str]
    process: "subprocess.Popen[str]"
    data_dir: Path

    @property
    def prefect_auth(self) -> httpx.BasicAuth:
        """For requests that Prefect's own client does not make."""
        name, _, password = self.environment["PREFECT_API_AUTH_STRING"].partition(":")
        return httpx.BasicAuth(name, password)

    def command(self, *words: str, check: bool = True, timeout: float = 120) -> str:
        """Run a program of the virtual environment and return what it printed."""
        done = subprocess.run(
            [str(BIN / words[0]), *words[1:]],
            env=self.environment,
            cwd=REPOSITORY,
            capture_output=True,
            text=True,
            timeout=timeout,
        )
        if check:
            assert done.returncode == 0, done.stdout + done.stderr
        return done.stdout + done.stderr

    def run(self, deployment: str, **parameters: Any) -> str:
        """Run a deployment through Prefect's API, as its UI does; the flow run's id."""
        api = self.environment["PREFECT_API_URL"]
        flow, _, name = deployment.partition("/")
        found = ask_prefect("GET", f"{api}/deployments/name/{flow}/{name}", auth=self.prefect_auth)
        deployment_id = found.raise_for_status().json()["id"]
        run = ask_prefect(
            "POST",
            f"{api}/deployments/{deployment_id}/create_flow_run",
            auth=self.prefect_auth,
            json={"parameters": parameters, "state": {"type": "SCHEDULED"}},
        )
        return str(run.raise_for_status().json()["id"])

    def prefect_state(self, fid: str) -> dict[str, Any]:
        api = self.environment["PREFECT_API_URL"]
        answer = ask_prefect("GET", f"{api}/flow_runs/{fid}", auth=self.prefect_auth)
        return dict(answer.raise_for_status().json()["state"])

    def status(self, fid: str) -> dict[str, Any]:
        found = self.client.get(f"/outputs/status/{fid}")
        return dict(found.json()) if found.status_code == 200 else {"status": None}

    def until(self, fid: str, status: str, seconds: float = 60) -> dict[str, Any]:
        """Wait until an execution has a status; its whole status then."""
        return wait_for(
            lambda: (found := self.status(fid))["status"] == status and found,
            seconds,
            f"status {status} of {fid}, which is {self.status(fid)}",
        )

    def events(self, fid: str, **query: Any) -> list[dict[str, Any]]:
        """All events stored by now, over the JSON pages."""
        items: list[dict[str, Any]] = []
        page: dict[str, Any] = {"next": 0, "more": True}
        while page["more"]:
            asked = {"after": page["next"], **query}
            answer = self.client.get(f"/outputs/events/{fid}", params=asked)
            page = answer.raise_for_status().json()
            items += page["items"]
        return items

    def stream(self, fid: str, path: str = "stream") -> list[tuple[str, int, str]]:
        """The whole server-sent stream of an execution: ``(event, id, data)`` up to ``eof``."""
        found = []
        with self.client.stream("GET", f"/outputs/{path}/{fid}", timeout=60) as response:
            name, number, data = "", 0, []
            for line in response.iter_lines():
                field, _, value = line.partition(": ")
                if field == "event":
                    name = value
                elif field == "id":
                    number = int(value)
                elif field == "data":
                    data.append(value)
                elif not line and name:
                    found.append((name, number, "\n".join(data)))
                    if name == "eof":
                        return found
                    name, data = "", []
        raise AssertionError("the stream ended without eof")


def clean_environment() -> dict[str, str]:
    """This process's environment without what would point at other services."""
    return {
        name: value
        for name, value in os.environ.items()
        if not name.startswith(("PREFECT_", "RAY_")) or name == "RAY_worker_niceness"
    }


def signed_in(panel: str) -> httpx.Client:
    """A client of a panel that has signed in as its first operator."""
    # Shorter than what the panel keeps idle connections for, so that none is used as it is closed.
    limits = httpx.Limits(keepalive_expiry=2.0)
    client = httpx.Client(base_url=panel, timeout=15, trust_env=False, limits=limits)
    answer = client.post("/login", data={"name": "admin", "password": PASSWORD})
    assert answer.status_code == 200, answer.text
    return client


@contextmanager
def running_up(
    data_dir: Path, *options: str, keep: bool = False, variables: Mapping[str, str] = {}
) -> Iterator[Up]:
    """`kodosumi-prefect up` in a process of its own; all it started is gone afterwards.

    Its database is gone, too, unless ``keep``; ``variables`` are added to its environment.
    """
    environment = clean_environment() | {
        "PREFECT_HOME": str(data_dir / "client"),
        "PREFECT_INTEGRATIONS_KODOSUMI_DATA_DIR": str(data_dir),
        **EXPORTED,
        "PREFECT_SERVER_ANALYTICS_ENABLED": "false",
        "PYTHONFAULTHANDLER": "1",
        **variables,
    }
    prefect_database.put_into(data_dir)
    process = subprocess.Popen(
        [str(BIN / "kodosumi-prefect"), "up", "--port", "0", *options],
        env=environment,
        cwd=REPOSITORY,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    )
    said = []
    try:
        assert process.stdout is not None
        for line in process.stdout:
            said.append(line)
            if line.startswith("ready "):
                break
        else:
            raise AssertionError("".join(said))
        access = recorded_access(Settings(data_dir=data_dir))
        assert access is not None and any(f"Prefect API  {access.url}\n" in line for line in said)
        environment |= access.environment()
        address = said[-1].split()[1]
        with closing(signed_in(address)) as client:
            yield Up(address, client, environment, process, data_dir)
        family = psutil.Process(process.pid).children(recursive=True)
        process.send_signal(signal.SIGTERM)
        try:
            assert process.wait(60) == 0
        except subprocess.TimeoutExpired:
            process.send_signal(signal.SIGABRT)  # it says where its threads are
            raise AssertionError(f"up does not stop\n{process.communicate()[0]}") from None
        wait_for(lambda: all(gone(one.pid) for one in family), 5, "the end of its family")
    finally:
        if process.poll() is None:
            process.kill()
            process.wait()
        if not keep:
            EmbeddedPostgres(data_dir).destroy()  # as root, its files are not in the data dir


def pid_of(up: Up, fid: str) -> int:
    """The process that runs an execution."""
    return int(up.events(fid, kinds="debug")[0]["source"]["pid"])


def gone(pid: int) -> bool:
    """Whether a process has ended; nobody may have asked for its exit code yet."""
    try:
        return psutil.Process(pid).status() == psutil.STATUS_ZOMBIE
    except psutil.NoSuchProcess:
        return True
