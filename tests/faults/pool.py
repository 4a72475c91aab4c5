"""A work pool of a test's own: its workers, its deployments, its runs."""

import os
import re
import signal
import sys
import time
from pathlib import Path
from typing import Any
from uuid import uuid4

import psycopg
from prefect.workers.base import BaseWorker
from psycopg.rows import dict_row

from kodosumi_prefect.database import channels
from kodosumi_prefect.database.worker_messages import Message
from kodosumi_prefect.runner.ray_connection import connect_ray
from kodosumi_prefect.runner.worker import KodosumiRayWorker
from kodosumi_prefect.settings import PREFIX
from kodosumi_prefect.stack.child import Child, RunningChild
from kodosumi_prefect.stack.keeper import end_family
from kodosumi_prefect.vocabulary import POOL_TYPE
from tests.prefect_http import ask_prefect
from tests.services import Place, Recorded
from tests.waiting import wait_for

FLOWS = Path(__file__).with_name("flows_under_fault.py")
LEASE = 4.0  # seconds
GRACE = 3.0  # seconds
RIGHT_WITHIN = 30.0  # seconds in which a terminal state must be right
SAID_BEFORE = 0.1  # seconds before a fault; what was said earlier must be kept


def ask(url: str, body: dict[str, Any] | None = None) -> dict[str, Any]:
    """GET, or POST a body; as Prefect's client does, again while the server is too busy."""
    answer = ask_prefect("GET" if body is None else "POST", url, json=body)
    assert answer.is_success, answer.text
    found: dict[str, Any] = answer.json()
    return found


class Worker:
    """``prefect worker start`` in a process of its own."""

    def __init__(
        self,
        name: str,
        pool: str,
        place: Place,
        log_dir: Path,
        type_: str = POOL_TYPE,
        limit: int | None = None,
        **more: str,
    ) -> None:
        self.name = name
        argv = [sys.executable, "-m", "prefect", "worker", "start", "--type", type_]
        argv += ["--pool", pool, "--name", name, "--install-policy", "never"]
        argv += ["--limit", str(limit)] if limit is not None else []
        environment: dict[str, str | None] = {
            **place.environment(),
            "PREFECT_WORKER_QUERY_SECONDS": "2",
            "PREFECT_WORKER_CANCELLATION_POLL_SECONDS": "2",
            "PREFECT_WORKER_PREFETCH_SECONDS": "1",
            "PREFECT_LOGGING_LEVEL": "DEBUG",
            f"{PREFIX}WORKER_LEASE": str(LEASE),
            f"{PREFIX}CANCEL_GRACE": str(GRACE),
            f"{PREFIX}HEARTBEAT_INTERVAL": "1",
            f"{PREFIX}WARM_RUNNERS": "0",
            **more,
        }
        self._child = Child(name, argv, environment, grace=10.0, cwd=log_dir)
        self._log_dir = log_dir
        self._starts = 0
        self.start()

    def start(self) -> None:
        """Start it, or start it again under the same name."""
        self._starts += 1
        self._running = RunningChild(self._child, self._log_dir / str(self._starts))

    @property
    def pid(self) -> int:
        return self._running.popen.pid

    @property
    def log(self) -> str:
        """What it said since its last start."""
        return self._running.log_path.read_text(errors="replace")

    @property
    def exit_code(self) -> int | None:
        return self._running.exit_code

    def until_ready(self) -> "Worker":
        wait_for(self._is_ready, 90, f"worker {self.name} to start")
        return self

    def _is_ready(self) -> bool:
        assert self.exit_code is None, self._running.failure("ended")
        return " started!" in self.log

    def kill(self) -> float:
        """SIGKILL; when that was."""
        os.kill(self.pid, signal.SIGKILL)
        now = time.time()
        self._running.popen.wait(10)
        return now

    def wait(self, seconds: float) -> int:
        """Wait until it has ended by itself; its exit code."""
        return self._running.popen.wait(seconds)

    def stop(self) -> None:
        end_family(self._running.record, self._running.popen.poll)


def end_of(found: Recorded) -> list[str]:
    """The kinds of the last two events of a stream; some may be stored after its end."""
    return [event.kind for event in found.events[: found.row["ended_seq"]][-2:]]


class Run:
    """A flow run, as Prefect and our database have it."""

    def __init__(self, place: Place, fid: str, notes: Path) -> None:
        self._place = place
        self.fid = fid
        self.notes = notes

    @property
    def api(self) -> str:
        return f"{self._place.api_url}/flow_runs/{self.fid}"

    @property
    def prefect(self) -> dict[str, Any]:
        return ask(self.api)

    @property
    def state(self) -> str:
        """The name of Prefect's state."""
        return str(self.prefect["state"]["name"])

    def set_state(self, type_: str, name: str | None = None) -> None:
        """Give it a state as somebody else would."""
        state = {"type": type_, "name": name or type_.title()}
        answer = ask(f"{self.api}/set_state", {"state": state, "force": False})
        assert answer["status"] == "ACCEPT", answer

    def cancel(self) -> None:
        """As Prefect's UI and command line do it."""
        self.set_state("CANCELLING")

    def resume(self) -> None:
        """Let a paused or suspended run go on."""
        answer = ask(f"{self.api}/resume", {})
        assert answer["status"] == "ACCEPT", answer

    def resume_with(self, **run_input: Any) -> None:
        """Let a paused or suspended run go on with the input that it waits for."""

        def accepted() -> bool:
            answer = ask(f"{self.api}/resume", {"run_input": run_input})
            return bool(answer["status"] == "ACCEPT")

        # Its schema is stored after the state.
        wait_for(accepted, RIGHT_WITHIN, "its input to be accepted", every=0.3)

    def until(
        self, *states: str, seconds: float = RIGHT_WITHIN, every: float = 0.02
    ) -> dict[str, Any]:
        """Wait for one of some states, looking every so many seconds; the flow run then."""
        seen: list[str] = []

        def reached() -> dict[str, Any] | None:
            run = self.prefect
            if not seen or seen[-1] != run["state"]["name"]:
                seen.append(run["state"]["name"])
            return run if run["state"]["name"] in states else None

        try:
            return wait_for(reached, seconds, every=every)
        except AssertionError:
            message = self.prefect["state"]["message"]
            raise AssertionError(f"{self.fid} was {seen}, not {states}: {message}") from None

    def ended(self, seconds: float = RIGHT_WITHIN) -> Recorded:
        """Wait until its stream is over; what was recorded. Each check that always holds is made.

        Its ``seq`` has no gap, nothing is there twice, every line of its notes is in the stream.
        """
        wait_for(lambda: self._place.has(self.fid), seconds, f"a record of {self.fid}")
        found = self._place.until_ended(self.fid, seconds)
        said = found.of("debug")
        ticks = [payload for payload in said if payload.startswith("tick ")]
        assert len(ticks) == len(set(ticks)), "an event is there twice"
        assert end_of(found)[-1] == "status"
        return found

    def kept(self, found: Recorded, fault: float) -> None:
        """What was said until shortly before a fault is in the stream, in order."""
        said = [payload for payload in found.of("debug") if payload.startswith("tick ")]
        noted = [line.split(" @ ") for line in self.noted("tick ")]
        early = [tick for tick, when in noted if float(when) < fault - SAID_BEFORE]
        assert early, "the fault came before anything was said"
        for speaker in {tick.split()[1] for tick in early}:
            of_speaker = [tick for tick in said if tick.split()[1] == speaker]
            expected = [tick for tick in early if tick.split()[1] == speaker]
            assert of_speaker[: len(expected)] == expected

    def until_placed(self, seconds: float = 60.0) -> str:
        """Wait until Prefect knows its Runner; the name of that."""
        pid = wait_for(lambda: self.prefect["infrastructure_pid"], seconds, "a Runner")
        return str(pid).rpartition(":")[2]

    def noted(self, beginning: str = "") -> list[str]:
        """Lines that the run's code wrote into its file, which no fault can take away."""
        if not self.notes.exists():
            return []
        lines = self.notes.read_text().splitlines()
        return [line for line in lines if line.startswith(beginning)]

    def until_noted(self, beginning: str, seconds: float = 45.0, times: int = 1) -> str:
        """Wait until its code wrote such a line; the last word of it."""
        try:
            lines = wait_for(
                lambda: len(found := self.noted(beginning)) >= times and found, seconds
            )
        except AssertionError:
            state = self.prefect["state"]
            said = f"{state['name']}: {state['message']}"
            raise AssertionError(f"{beginning!r} was not noted; the run is {said}") from None
        return str(lines[-1].split()[-1])

    def pid(self, who: str = "flow") -> int:
        """The process of the flow, or of what else noted its own, once it is known."""
        return int(self.until_noted(f"pid {who} "))

    def say(self, word: str) -> None:
        """Let code go on that waits for a word."""
        with self.notes.open("a") as file:
            file.write(f"said {word}\n")


class Pool:
    """A work pool with workers of its own; use as a context manager.

    Arguments:
        worker_class: of its workers; a pool of Prefect's own can be compared with.
    """

    def __init__(
        self,
        place: Place,
        folder: Path,
        worker_class: type[BaseWorker[Any, Any, Any]] = KodosumiRayWorker,
    ) -> None:
        self.place = place
        self.name = f"pool-{uuid4().hex[:8]}"
        self.folder = folder
        self.type = worker_class.type
        self.workers: list[Worker] = []
        self._deployments: dict[str, str] = {}
        found = self._post(
            "work_pools/",
            name=self.name,
            type=self.type,
            base_job_template=worker_class.get_default_base_job_template(),
        )
        self.id = found["id"]

    def __enter__(self) -> "Pool":
        return self

    def __exit__(self, *_: object) -> None:
        for worker in self.workers:
            worker.stop()

    @property
    def namespace(self) -> str:
        """Of its Runners on Ray."""
        return f"kodosumi-{self.id}"

    def worker(
        self,
        name: str = "first",
        limit: int | None = None,
        variables: dict[str, str] | None = None,
        **environment: str,
    ) -> Worker:
        """Start a worker; environment names are those of our settings, in lower case.

        Arguments:
            limit: of runs at a time.
            variables: of its environment, by their own names.
        """
        more = {f"{PREFIX}{key.upper()}": value for key, value in environment.items()}
        more |= variables or {}
        full = f"{self.name}-{name}"
        made = Worker(full, self.name, self.place, self.folder / full, self.type, limit, **more)
        self.workers.append(made)
        return made

    def run(self, flow: str, parameters: dict[str, Any] | None = None, **job: Any) -> Run:
        """Run a flow of ``flows_under_fault.py``, or of another ``file:flow``.

        Flows of ours get ``notes``, the file that they write their own protocol into.
        """
        notes = self.new_notes()
        if ":" not in flow:
            parameters = {"notes": str(notes), **(parameters or {})}
        return self.run_deployment(self.deployment(flow), parameters or {}, notes, **job)

    def new_notes(self) -> Path:
        """A file that a run may write its own protocol into."""
        return self.folder / f"notes-{uuid4().hex[:8]}"

    def run_deployment(
        self, deployment: str, parameters: dict[str, Any], notes: Path | None = None, **job: Any
    ) -> Run:
        """Run a deployment as Prefect's UI does it, with job variables of this run's own."""
        found = self._post(
            f"deployments/{deployment}/create_flow_run",
            state={"type": "SCHEDULED"},
            parameters=parameters,
            job_variables=job,
        )
        return Run(self.place, found["id"], notes or self.folder / "none")

    def deployment(self, flow: str, **more: Any) -> str:
        """A deployment of a flow in a file; its id."""
        if flow in self._deployments and not more:
            return self._deployments[flow]
        path, _, name = flow.rpartition(":")
        file = Path(path) if path else FLOWS
        folder = {"directory": str(file.parent)}
        found = self._post("flows/", name=re.sub("_", "-", name))
        body = {
            "name": f"{self.name}-{uuid4().hex[:8]}",
            "flow_id": found["id"],
            "work_pool_name": self.name,
            "entrypoint": f"{file.name}:{name}",
            "pull_steps": [{"prefect.deployments.steps.set_working_directory": folder}],
            "enforce_parameter_schema": False,
            **more,
        }
        made = str(self._post("deployments/", **body)["id"])
        self._deployments[flow] = made
        return made

    def tell(self, message: Message) -> None:
        """A message to the workers of the database."""
        with psycopg.connect(self.place.database, autocommit=True) as connection:
            connection.execute(
                "SELECT pg_notify(%s, %s)", (channels.workers("kodosumi"), message.payload())
            )

    def runner(self, run: Run) -> dict[str, Any] | None:
        """What table ``runner`` says of a run."""
        with psycopg.connect(self.place.database, row_factory=dict_row) as connection:
            return connection.execute(
                "SELECT * FROM kodosumi.runner WHERE fid = %s", (run.fid,)
            ).fetchone()

    def service(self, worker: Worker) -> dict[str, Any]:
        """What a worker says of itself in table ``service``; nothing is so, before it does."""
        with psycopg.connect(self.place.database) as connection:
            query = "SELECT info FROM kodosumi.service WHERE kind = 'worker' AND name = %s"
            row = connection.execute(query, (worker.name,)).fetchone()
        return dict(row[0]) if row else {"warm": 0, "draining": False}

    def runners(self) -> set[str]:
        """The names of its living Runners."""
        connect_ray(self.place.settings)
        from ray.util import list_named_actors

        found = list_named_actors(all_namespaces=True)
        return {one["name"] for one in found if one["namespace"] == self.namespace}

    def until_answered_for(self, run: Run, by: Worker) -> None:
        """Wait until a worker answers for a run."""

        def answers() -> bool:
            row = self.runner(run)
            return row is not None and row["worker"] == by.name

        wait_for(answers, RIGHT_WITHIN, f"{by.name} to answer for {run.fid}")

    def _post(self, path: str, **body: Any) -> dict[str, Any]:
        return ask(f"{self.place.api_url}/{path}", body)
