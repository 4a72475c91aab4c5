"""Runners made ahead: who gets one, who does not, and when they end by themselves."""

from pathlib import Path

import pytest
from prefect.settings import temporary_settings

from kodosumi_prefect.runner.cluster import Cluster, Spec
from tests.faults.cluster import RayNodes, gone
from tests.faults.pool import Pool
from tests.services import in_force
from tests.waiting import wait_for

CODE = """
import os
from helping_code import WORD
from kodosumi_prefect import flow

@flow
def says() -> str:
    return f"{word} {WORD} {os.getpid()}"
"""


@pytest.fixture(scope="module")
def warm_pool(shared_pool: Pool) -> Pool:
    """A pool whose worker keeps one Runner ready."""
    shared_pool.workers[0].stop()
    shared_pool.worker("warm", warm_runners="1").until_ready()
    return shared_pool


def until_warm(pool: Pool) -> int:
    """Wait until a Runner is ready; how many the worker says there are."""
    worker = pool.workers[-1]
    return wait_for(lambda: pool.service(worker)["warm"], 60, "a warm Runner")


def write(folder: Path, word: str) -> None:
    (folder / "changing.py").write_text(CODE.replace("{word}", word))
    (folder / "helping_code.py").write_text(f'WORD = "{word}"\n')


def test_changed_code_is_never_served_from_a_warm_process(warm_pool: Pool):
    folder = warm_pool.folder
    pids = set()
    for word in ("first", "second", "third"):
        write(folder, word)
        until_warm(warm_pool)
        run = warm_pool.run(f"{folder / 'changing.py'}:says")
        first, second, pid = run.ended(60).final["str"].split()
        assert (first, second) == (word, word)
        pids.add(pid)
    assert len(pids) == 3


def test_a_warm_runner_is_not_for_runs_that_need_something_else(warm_pool: Pool):
    until_warm(warm_pool)
    before = warm_pool.runners()
    other = [
        warm_pool.run("gentle", num_cpus=0.01),
        warm_pool.run(
            "environment",
            {"names": ["PLAIN", "OF_RAY"]},
            env={"PLAIN": "a"},
            runtime_env={"env_vars": {"OF_RAY": "b"}},
        ),
    ]
    for run in other:
        run.until("Completed", seconds=60)
        assert run.until_placed() not in before
    assert other[1].ended().final == {"dict": {"PLAIN": "a", "OF_RAY": "b"}}
    same = warm_pool.run("environment", {"names": ["PLAIN"]}, env={"PLAIN": "c"})
    assert same.ended(60).final == {"dict": {"PLAIN": "c"}}
    assert same.until_placed() in before


def test_a_local_working_dir_is_uploaded_and_used(warm_pool: Pool):
    folder = warm_pool.folder / "uploaded"
    folder.mkdir()
    write(folder, "uploaded")
    deployment = warm_pool.deployment(
        f"{folder / 'changing.py'}:says", entrypoint="changing.says", pull_steps=[]
    )
    run = warm_pool.run_deployment(deployment, {}, runtime_env={"working_dir": str(folder)})
    assert run.ended(60).final["str"].startswith("uploaded uploaded ")


def test_a_runner_whose_run_is_over_takes_the_next_one(warm_pool: Pool):
    names, processes = set(), set()
    for _ in range(3):
        until_warm(warm_pool)
        run = warm_pool.run("gentle")
        run.ended(60)
        names.add(run.until_placed())
        processes.add(run.pid())
    assert len(names) < 3
    assert len(processes) == 3


def test_a_warm_runner_ends_when_its_worker_does_not_renew_its_claim(
    warm_pool: Pool, nodes: RayNodes
):
    settings = warm_pool.place.settings
    cluster = Cluster(settings, f"{warm_pool.namespace}-alone")
    with temporary_settings(in_force(warm_pool.place.api_url)):
        runner = cluster.spawn(Spec(), 1.0)
        facts = runner.hello(2.0).result(60)
    wait_for(lambda: gone(facts.pid), 20, "the end of the Runner")
    wait_for(lambda: runner.name not in nodes.runners(), 20, "the end of its actor")
