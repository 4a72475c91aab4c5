"""What users get wrong: each is a state, an ``error`` event and one clear line."""

import socket

import pytest

from kodosumi_prefect.runner.cluster import VersionError, check_versions, own_versions
from kodosumi_prefect.runner.order import Facts
from tests.faults.pool import FLOWS, Pool, Run, end_of
from tests.waiting import wait_for

BROKEN = "import does_not_exist\n"
ABSENT = "gcs://_ray_pkg_0123456789abcdef.zip"
PARAMETER = 400_000  # characters; Prefect takes parameters of 512 KiB

# State, and what its line says.
EXPECTED = {
    "broken module": ("Crashed", "No module named 'does_not_exist'"),
    "no such file": ("Crashed", "nowhere.py"),
    "no such flow": ("Crashed", "no_such_flow"),
    "failing pull": ("Crashed", "/does/not/exist"),
    "runtime_env": ("Crashed", "runtime_env could not be set up"),
    "absent folder": ("Crashed", "/does/not/exist"),
    "no gpu": ("Crashed", "GPU 8 is needed, no node has more than 0"),
    "no label": ("Crashed", "with the labels {'zone': 'moon'}"),
    "no room": ("Crashed", "no room within schedule_timeout, 2 s"),
    "unpicklable": ("Failed", "pickle"),
}


@pytest.fixture(scope="module")
def runs(shared_pool: Pool) -> dict[str, Run]:
    """One run for each mistake, begun together."""
    pool = shared_pool
    broken = pool.folder / "broken.py"
    broken.write_text(BROKEN)
    step = {"prefect.deployments.steps.set_working_directory": {"directory": "/does/not/exist"}}
    unpulled = pool.deployment(f"{broken}:pulled", pull_steps=[step])
    return {
        "broken module": pool.run(f"{broken}:flow"),
        "no such file": pool.run(f"{pool.folder / 'nowhere.py'}:flow"),
        "no such flow": pool.run(f"{FLOWS}:no_such_flow"),
        "failing pull": pool.run_deployment(unpulled, {}),
        "runtime_env": pool.run("gentle", runtime_env={"working_dir": ABSENT}),
        "absent folder": pool.run("gentle", runtime_env={"working_dir": "/does/not/exist"}),
        "no gpu": pool.run("gentle", num_gpus=8),
        "no label": pool.run("gentle", labels={"zone": "moon"}),
        "no room": pool.run("gentle", num_cpus=64, schedule_timeout=2),
        "unpicklable": pool.run("unpicklable"),
        "not persisted": pool.run("not_persisted"),
        "huge": pool.run("measuring", {"text": "x" * PARAMETER}),
    }


@pytest.mark.parametrize("mistake", EXPECTED)
def test_a_mistake_is_a_state_an_error_event_and_one_clear_line(runs: dict[str, Run], mistake: str):
    run = runs[mistake]
    name, line = EXPECTED[mistake]
    state = run.until(name, seconds=90)["state"]
    found = run.ended()
    assert line in state["message"]
    assert found.row["status"] == "error"
    assert line in found.row["error"]
    assert "\n" not in found.row["error"]
    assert len(found.of("error")) == 1
    assert end_of(found) == ["error", "status"]


def test_a_huge_parameter_arrives(runs: dict[str, Run]):
    found = runs["huge"].ended(60)
    assert found.row["status"] == "finished"
    assert found.final == {"int": PARAMETER}


def test_a_result_that_cannot_be_persisted_is_recorded_all_the_same(runs: dict[str, Run]):
    found = runs["not persisted"].ended(60)
    assert found.row["status"] == "finished"
    assert "lock" in found.row["final"]


def test_a_runner_of_other_versions_is_refused():
    for name in ("ray", "python", "kodosumi-prefect"):
        versions = own_versions() | {name: "0.1"}
        with pytest.raises(VersionError) as caught:
            check_versions(Facts("0" * 56, "far", 1, versions))
        ours = own_versions()[name]
        assert str(caught.value) == (
            f"node far has {name} 0.1, the worker has {ours}; install the same on both"
        )
    check_versions(Facts("0" * 56, "far", 1, own_versions() | {"prefect": "3.8.0"}))


def test_a_ray_that_refuses_keeps_runs_waiting_and_is_told_in_one_line(pool: Pool):
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))  # bound and not listening: it refuses
        address = f"127.0.0.1:{taken.getsockname()[1]}"
        worker = pool.worker(ray_address=address).until_ready()
        run = pool.run("gentle")
        told = wait_for(
            lambda: [line for line in worker.log.splitlines() if "Ray does not answer yet" in line],
            20,
        )
        assert address in told[0]
        assert "Traceback" not in worker.log
        assert run.state in ("Scheduled", "Late")
