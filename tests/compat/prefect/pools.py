"""The same deployments on a pool of Prefect's own workers and on one of ours, side by side."""

import contextlib
import json
import logging
import re
import uuid
from collections import Counter
from collections.abc import Callable, Iterable
from functools import cached_property
from typing import Any, NamedTuple

from prefect.client.orchestration import get_client

from tests.faults.pool import Pool, Run, ask
from tests.services import SAMPLES
from tests.waiting import wait_for

FLOWS = SAMPLES / "on_both_pools.py"
ENDED_WITHIN = 240.0  # seconds; all runs are begun together
# Events whose number depends on time, and on what both pools share.
CASUAL = ("prefect.flow-run.heartbeat", "prefect.artifact-collection.")
TERMINAL = {"COMPLETED", "FAILED", "CRASHED", "CANCELLED"}
# What workers and their runners say of runs; ours is another one.
OF_WORKERS = ("prefect.flow_runs.worker", "prefect.flow_runs.runner", "prefect.worker")
FID = re.compile(r"[0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{12}")
TASK_RUN = re.compile(r"\b([\w-]+)-[0-9a-f]{3}\b")
NUMBER = re.compile(r"\d+\.\d+")
SETTLED_WITHIN = 30.0  # seconds after a run's final state
LOOK = 0.3  # seconds between two looks; the server has other things to do
LISTED = 200  # rows that Prefect lists at once


class Side:
    """A flow run of one of the pools, with what became of it."""

    def __init__(self, run: Run) -> None:
        self.run = run
        self._failure: str | None = None

    @cached_property
    def prefect(self) -> dict[str, Any]:
        """The flow run, once it has a final state."""

        def over() -> dict[str, Any] | None:
            found = self.run.prefect
            return found if found["state"]["type"] in TERMINAL else None

        assert self._failure is None, self._failure  # once is enough to wait so long
        try:
            return wait_for(over, ENDED_WITHIN, every=LOOK)
        except AssertionError:
            state = self.run.prefect["state"]
            self._failure = f"{self.run.fid} did not end, it is {state['name']}: {state['message']}"
            raise AssertionError(self._failure) from None

    @property
    def result(self) -> Any:
        """What it returned, as whoever asks for it reads it."""
        assert self.prefect
        with get_client(sync_client=True) as client:
            state = client.read_flow_run(uuid.UUID(self.run.fid)).state
        assert state is not None
        return state.result(_sync=True)  # type: ignore[call-overload]

    @property
    def deployment(self) -> str:
        """Its deployment's id."""
        return str(self.run.prefect["deployment_id"])

    @property
    def state(self) -> tuple[str, str]:
        """Type and name of its final state."""
        state = self.prefect["state"]
        return state["type"], state["name"]

    @property
    def message(self) -> str:
        """The first line of its state's message, without what is this run's alone."""
        return self._same((self.prefect["state"]["message"] or "").split("\n")[0])

    @property
    def history(self) -> list[str]:
        """The names of the states that it went through, in order."""
        assert self.prefect
        states = ask(f"{self._api}/flow_run_states/?flow_run_id={self.run.fid}")
        return [state["name"] for state in sorted(states, key=lambda one: one["timestamp"])]

    @property
    def task_runs(self) -> Counter[tuple[str, str, str]]:
        """Name, state's type and name of its own task runs."""
        assert self.prefect
        found = self._listed("task_runs", flow_runs={"id": {"any_": [self.run.fid]}})
        return Counter(
            (self._same(one["name"]), one["state_type"], one["state_name"]) for one in found
        )

    @property
    def logs(self) -> Counter[tuple[str, int, str]]:
        """Logger, level, and first and last line of what Prefect has of it, from INFO on.

        Without what workers and their runners say of it.
        """
        assert self.prefect
        found = self._listed("logs", logs={"flow_run_id": {"any_": [self.run.fid]}})
        return Counter(
            (one["name"], one["level"], self._ends(one["message"]))
            for one in found
            if one["level"] > logging.DEBUG and not one["name"].startswith(OF_WORKERS)
        )

    @property
    def artifacts(self) -> Counter[tuple[str | None, str, str]]:
        """Key, type and data of its artifacts."""
        assert self.prefect
        found = self._listed("artifacts", artifacts={"flow_run_id": {"any_": [self.run.fid]}})
        return Counter(
            (one["key"], one["type"], self._same(str(one["data"])))
            for one in found
            if "storage_key" not in str(one["data"])  # where a result is kept
        )

    @property
    def events(self) -> Counter[str]:
        """The names of events about it, or that are related to it."""
        asked = {"filter": {"any_resource": {"id": [f"prefect.flow-run.{self.run.fid}"]}}}
        found = ask(f"{self._api}/events/filter", {**asked, "limit": 50})
        events = found["events"]
        while found["next_page"] is not None:
            found = ask(found["next_page"])
            events += found["events"]
        names = [event["event"] for event in events]
        return Counter(name for name in names if not name.startswith(CASUAL))

    @property
    def told(self) -> list[str]:
        """What it and its hooks noted, in order, but for facts."""
        assert self.prefect
        return [line for line in self.run.noted() if not line.startswith("fact ")]

    @property
    def facts(self) -> dict[str, Any]:
        """What features returned, by name."""
        assert self.prefect
        return dict(json.loads(line.removeprefix("fact ")) for line in self.run.noted("fact "))

    @property
    def _api(self) -> str:
        return self.run.api.rpartition("/flow_runs/")[0]

    def _listed(self, what: str, **asked: Any) -> list[dict[str, Any]]:
        found: list[Any] = []
        while True:
            body = {**asked, "limit": LISTED, "offset": len(found)}
            page: Any = ask(f"{self._api}/{what}/filter", body)
            found += page
            if len(page) < LISTED:
                return found

    def _ends(self, text: str) -> str:
        lines = text.strip().splitlines() or [""]
        return self._same(" … ".join(dict.fromkeys((lines[0], lines[-1]))))

    def _same(self, text: str) -> str:
        text = text.replace(self.prefect["name"], "NAME")
        for pattern, word in ((FID, "UUID"), (TASK_RUN, r"\1-HEX"), (NUMBER, "NUMBER")):
            text = pattern.sub(word, text)
        return text


class Pair(NamedTuple):
    """A run on each pool."""

    ours: Side
    theirs: Side


def under_way(sides: Iterable[Side]) -> int:
    """How many runs have no final state."""
    runs = [side.run for side in sides]
    ids = {"any_": [run.fid for run in runs]}
    asked = {"flow_runs": {"id": ids, "state": {"type": {"not_any_": [*TERMINAL]}}}}
    count: Any = ask(f"{runs[0].api.rpartition('/flow_runs/')[0]}/flow_runs/count", asked)
    return int(count)


def settled(pair: Pair, what: str, expected: Any = None) -> tuple[Any, Any]:
    """What both have of something, once that is the same: logs, events and last hooks come late.

    Arguments:
        expected: what it is to be.
    """

    def seen() -> tuple[Any, Any]:
        return getattr(pair.ours, what), getattr(pair.theirs, what)

    def same() -> bool:
        ours, theirs = seen()
        return bool(ours == theirs and (expected is None or ours == expected))

    with contextlib.suppress(AssertionError):  # the caller compares, and says what differs
        wait_for(same, SETTLED_WITHIN, every=LOOK)
    return seen()


class Pools:
    """The two pools, each with one worker, and the deployments that both have."""

    def __init__(self, ours: Pool, theirs: Pool) -> None:
        self.ours = ours
        self.theirs = theirs

    def run(
        self,
        flow: str,
        parameters: dict[str, Any] | Callable[[Pool], dict[str, Any]] | None = None,
        **deployment: Any,
    ) -> Pair:
        """Run a flow of the samples, or of an entrypoint, on both.

        Arguments:
            parameters: beside ``notes``; a function gives those of a pool.
            deployment: fields of the deployments.
        """
        return Pair(
            *(
                self.run_on(
                    pool,
                    flow,
                    parameters(pool) if callable(parameters) else parameters,
                    **deployment,
                )
                for pool in self.both
            )
        )

    def run_on(
        self, pool: Pool, flow: str, parameters: dict[str, Any] | None = None, **deployment: Any
    ) -> Side:
        """Run it on one of them."""
        made = self.deployment(pool, flow, **deployment)
        return self.run_deployment(pool, made, parameters)

    def deployment(self, pool: Pool, flow: str, **fields: Any) -> str:
        """A deployment on one of them; its id."""
        entrypoint = flow if ":" in flow else f"{FLOWS.name}:{flow}"
        folder = {"directory": str(FLOWS.parent)}
        pulled = [{"prefect.deployments.steps.set_working_directory": folder}]
        return pool.deployment(flow, **{"entrypoint": entrypoint, "pull_steps": pulled, **fields})

    def run_deployment(
        self, pool: Pool, deployment: str, parameters: dict[str, Any] | None = None
    ) -> Side:
        notes = pool.new_notes()
        given = {"notes": str(notes), **(parameters or {})}
        return Side(pool.run_deployment(deployment, given, notes))

    @property
    def both(self) -> tuple[Pool, Pool]:
        return self.ours, self.theirs
