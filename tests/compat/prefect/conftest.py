"""One run of each sample flow on both kinds of pools, begun together before the first test."""

import sys
from collections.abc import Callable, Generator, Iterator
from functools import partial
from itertools import chain
from pathlib import Path
from typing import Any
from uuid import UUID

import pytest
from prefect.blocks.system import Secret
from prefect.input.run_input import send_input
from prefect.settings import temporary_settings
from prefect.variables import Variable
from prefect.workers.process import ProcessWorker
from psycopg.conninfo import make_conninfo

from kodosumi_prefect.settings import Settings
from kodosumi_prefect.stack.child import Child
from kodosumi_prefect.stack.embedded_postgres import EmbeddedPostgres
from tests.compat.prefect.pools import ENDED_WITHIN, FLOWS, LOOK, Pair, Pools, under_way
from tests.faults.pool import Pool, Run
from tests.services import Place, in_force, served
from tests.waiting import wait_for

AT_ONCE = 8  # runs, of both pools
BEGUN_WITHIN = 120.0  # seconds; all runs are begun together
# Prefect's SQLite refuses for a while when many runs begin; its own worker calls them crashed.
PATIENT = {"PREFECT_CLIENT_MAX_RETRIES": "30"}
ALONE = {"concurrency_limit": 1, "concurrency_options": {"collision_strategy": "CANCEL_NEW"}}
TYPED = {
    "model": {"name": "one", "day": "2026-11-29"},
    "data": {"count": 3},
    "colour": "red",
    "days": ["2026-11-29", "2026-11-30"],
}
VARIABLES = {
    "LITERAL": "as it is",
    "FROM_VARIABLE": "{{ prefect.variables.of_both_pools }}",
    "FROM_BLOCK": "{{ prefect.blocks.secret.of-both-pools }}",
    "TZ": "Asia/Kolkata",
    "PREFECT_LOGGING_EXTRA_LOGGERS": "own",
}


@pytest.hookimpl(wrapper=True)
def pytest_runtest_teardown(
    item: pytest.Item, nextitem: pytest.Item | None
) -> Generator[None, None, None]:
    """End the workers when the last test here has run; others have the cluster for themselves."""
    yield
    if nextitem is None or "pools" in getattr(nextitem, "fixturenames", ()):
        return
    for definition in item.session._fixturemanager.getfixturedefs("pools", item) or ():
        definition.finish(item._request)  # type: ignore[attr-defined]


@pytest.fixture(scope="session")
def pools(
    site: Settings,
    postgres: EmbeddedPostgres,
    prefect_server: str,
    ray_cluster: str,
    tmp_path_factory: pytest.TempPathFactory,
) -> Iterator[Pools]:
    """Both pools, each with one worker, and a task worker for what flows delay."""
    place = Place(site, make_conninfo(postgres.url, dbname="runs"), prefect_server)
    argv = [sys.executable, "-m", "prefect", "task", "serve", f"{FLOWS}:done_elsewhere"]
    task_worker = Child("task-worker", argv, place.environment())
    logs = Path(tmp_path_factory.mktemp("task-worker"))
    with (
        Pool(place, Path(tmp_path_factory.mktemp("ours"))) as ours,
        Pool(place, Path(tmp_path_factory.mktemp("theirs")), ProcessWorker) as theirs,
        served(task_worker, logs),
    ):
        for pool in (ours, theirs):
            pool.worker(variables=PATIENT, warm_runners="1", heartbeat_interval="10")
        yield Pools(ours, theirs)


@pytest.fixture(scope="session")
def pairs(pools: Pools) -> dict[str, Pair]:
    """A run of each flow on both, by name; those that wait for somebody got what they wait for."""
    with temporary_settings(in_force(pools.ours.place.api_url)):
        Variable.set("of_both_pools", "of a variable", overwrite=True)
        Secret(value="of a block").save("of-both-pools", overwrite=True)
        made = waiting(pools)
        given(made)
    for name, begin in BY_THEMSELVES.items():
        # More at a time would be late, and Prefect's SQLite locked.
        wait_for(lambda: under_way(chain(*made.values())) < AT_ONCE, ENDED_WITHIN, every=1.0)
        made[name] = begin(pools)
    return made


def waiting(pools: Pools) -> dict[str, Pair]:
    """Runs that wait for what somebody does."""
    made = {name: pools.run(name) for name in ("suspends", "pauses", "stopped")}
    made["holds"] = pools.run("holds", **ALONE)
    made["turned away"] = Pair(
        *(
            pools.run_deployment(pool, side.deployment)
            for pool, side in zip(pools.both, made["holds"], strict=True)
        )
    )
    return made


def calls(pools: Pools) -> Pair:
    """A flow that runs the deployment of another one, on its own pool."""

    def called(pool: Pool) -> dict[str, Any]:
        deployment = pools.deployment(pool, "counts")
        return {
            "deployment": deployment,
            "parameters": {"notes": str(pool.new_notes()), "number": 5},
        }

    return pools.run("calls", called)


BY_THEMSELVES: dict[str, Callable[[Pools], Pair]] = {
    "features": lambda pools: pools.run(
        "features", {"word": "now"}, job_variables={"env": VARIABLES}, tags=["of-the-deployment"]
    ),
    "calls": calls,
    "tidy": lambda pools: pools.run("tidy", TYPED),
    "untyped": lambda pools: pools.run("tidy", {**TYPED, "colour": "no colour"}),
    "main": lambda pools: pools.run("project.main:main"),
    "missing": lambda pools: pools.run("on_both_pools.py:no_such_flow"),
} | {
    name: partial(Pools.run, flow=name)
    for name in (
        "takes_long",
        "exits",
        "fails",
        "async_features",
        "unpicklable",
        "leaves",
        "untidy",
    )
}


def given(made: dict[str, Pair]) -> None:
    """Cancel, resume and send what is asked for, on each pool alike."""
    for side in made["suspends"]:
        side.run.until("Suspended", seconds=BEGUN_WITHIN, every=LOOK)
        side.run.resume_with(word="typed", count=2)
    for side in made["stopped"]:
        side.run.until_noted("began", BEGUN_WITHIN)
        side.run.cancel()
    for side in made["pauses"]:
        side.run.until("Paused", seconds=BEGUN_WITHIN, every=LOOK)
        side.run.resume_with(word="typed")
        side.run.until_noted("answer", BEGUN_WITHIN)
        send_input("hello", flow_run_id=UUID(side.run.fid))
    for one, other in zip(made["holds"], made["turned away"], strict=True):
        until_turned_away(one.run, other.run)
        for side in (one, other):
            side.run.say("go")


def until_turned_away(*runs: Run) -> None:
    """Wait until all but one of some runs are cancelled."""

    def turned_away() -> bool:
        states = [run.state for run in runs]
        return states.count("Cancelled") == len(runs) - 1

    wait_for(turned_away, BEGUN_WITHIN, "a run to be turned away", every=LOOK)
