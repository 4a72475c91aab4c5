"""Deployments as people make them, by YAML and from Python, give the same runs on both pools."""

import subprocess
import sys
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any
from uuid import UUID

import pytest
import yaml
from prefect import flow
from prefect.client.orchestration import get_client
from prefect.events import emit_event
from prefect.settings import temporary_settings

from tests.compat.prefect.pools import FLOWS, LOOK, Pair, Pools, Side, settled
from tests.faults.pool import Pool, Run, ask
from tests.services import in_force
from tests.waiting import wait_for

# Until the one run of an interval schedule; it has to be declared and scheduled by then.
SOON = timedelta(seconds=30)
WITHIN = 120.0  # seconds
STEPS = "prefect.deployments.steps"
GIT = ("-c", "user.name=tests", "-c", "user.email=tests@example.org")


def declared(pool: Pool, name: str, notes: Path) -> dict[str, Any]:
    """A deployment with every field that a ``prefect.yaml`` may have on a server of one's own."""
    soon = (datetime.now(UTC) + SOON).isoformat()
    return {
        "name": name,
        "version": "3.1",
        "version_type": "prefect:simple",
        "tags": ["of-yaml"],
        "description": "As it is declared.",
        "entrypoint": f"{FLOWS.name}:counts",
        "parameters": {"notes": str(notes), "number": 1},
        "enforce_parameter_schema": True,
        "concurrency_limit": {"limit": 5, "collision_strategy": "ENQUEUE"},
        "schedules": [
            {"cron": "0 0 1 1 *", "timezone": "Europe/Berlin", "slug": "yearly", "active": False},
            {
                "interval": 400 * 86_400,
                "anchor_date": soon,
                "slug": "soon",
                "parameters": {"number": 2},
            },
            {"rrule": "FREQ=YEARLY;COUNT=1", "slug": "rule", "active": False},
        ],
        "build": [
            {
                f"{STEPS}.run_shell_script": {
                    "id": "built",
                    "script": "echo of the build",
                    "stream_output": False,
                }
            }
        ],
        "push": [{f"{STEPS}.run_shell_script": {"script": "true", "stream_output": False}}],
        "pull": [
            {
                f"{STEPS}.run_shell_script": {
                    "id": "pulled",
                    "script": f"echo {FLOWS.parent}",
                    "stream_output": False,
                }
            },
            {f"{STEPS}.set_working_directory": {"directory": "{{ pulled.stdout }}"}},
        ],
        "work_pool": {
            "name": pool.name,
            "work_queue_name": "declared",
            "job_variables": {"env": {"LITERAL": "{{ built.stdout }}"}},
        },
        "triggers": [
            {
                "enabled": True,
                "expect": ["own.asked"],
                "match": {"prefect.resource.id": f"own.{pool.name}"},
                "parameters": {"number": "{{ event.payload.number }}"},
            }
        ],
    }


@pytest.fixture(scope="module")
def declared_runs(pools: Pools, tmp_path_factory: pytest.TempPathFactory) -> dict[str, Pair]:
    """Runs of what one ``prefect deploy --all`` made: by schedule, by an event, and by hand."""
    folder = Path(tmp_path_factory.mktemp("declared"))
    notes = [pool.new_notes() for pool in pools.both]
    deployments = [
        declared(pool, pool.name, own) for pool, own in zip(pools.both, notes, strict=True)
    ]
    (folder / "prefect.yaml").write_text(yaml.safe_dump({"deployments": deployments}))
    (folder / FLOWS.name).write_text(FLOWS.read_text())
    done = subprocess.run(
        [sys.executable, "-m", "prefect", "--no-prompt", "deploy", "--all"],
        cwd=folder,
        env=pools.ours.place.environment(),
        capture_output=True,
        text=True,
        timeout=WITHIN,
        check=False,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    with temporary_settings(in_force(pools.ours.place.api_url)):
        for pool in pools.both:
            emit_event(
                "own.asked",
                resource={"prefect.resource.id": f"own.{pool.name}"},
                payload={"number": 3},
            )
        with get_client(sync_client=True) as client:
            made = [client.read_deployment_by_name(f"counts/{pool.name}") for pool in pools.both]
            by_hand = [client.create_flow_run_from_deployment(one.id) for one in made]
    found = {"by hand": [str(run.id) for run in by_hand]}
    for how, number in (("by schedule", 2), ("by an event", 3)):
        found[how] = [
            until_there(pool, one.id, number) for pool, one in zip(pools.both, made, strict=True)
        ]
    return {
        how: Pair(
            *(Side(Run(pools.ours.place, fid, own)) for fid, own in zip(fids, notes, strict=True))
        )
        for how, fids in found.items()
    }


def until_there(pool: Pool, deployment: UUID, number: int) -> str:
    """Wait for a run of a deployment with a parameter; its id."""
    asked = {"flow_runs": {"deployment_id": {"any_": [str(deployment)]}}}

    def there() -> str | None:
        runs: Any = ask(f"{pool.place.api_url}/flow_runs/filter", asked)
        return next((run["id"] for run in runs if run["parameters"]["number"] == number), None)

    return wait_for(there, WITHIN, f"a run with {number}", every=LOOK) or ""


@pytest.mark.parametrize(("how", "value"), [("by hand", 1), ("by schedule", 2), ("by an event", 3)])
def test_what_prefect_yaml_declares_runs_the_same(
    declared_runs: dict[str, Pair], how: str, value: int
) -> None:
    ours, theirs = declared_runs[how]
    assert ours.state == theirs.state == ("COMPLETED", "Completed")
    assert f"counted {value} of the build" in ours.told
    assert f"counted {value} of the build" in theirs.told
    for side in (ours, theirs):
        assert side.prefect["work_queue_name"] == "declared"
        assert "of-yaml" in side.prefect["tags"]
    logs = settled(Pair(ours, theirs), "logs")
    assert logs[0] == logs[1]


def test_what_prefect_yaml_declares_is_what_the_server_has(
    pools: Pools, declared_runs: dict[str, Pair]
) -> None:
    for side in declared_runs["by hand"]:
        found = ask(f"{pools.ours.place.api_url}/deployments/{side.deployment}")
        assert found["enforce_parameter_schema"]
        assert found["version"] == "3.1"
        assert found["global_concurrency_limit"]["limit"] == 5
        assert {one["slug"] for one in found["schedules"]} == {"yearly", "soon", "rule"}


@pytest.fixture(scope="module")
def more_runs(pools: Pools, tmp_path_factory: pytest.TempPathFactory) -> dict[str, Pair]:
    """Runs of code that ``deploy()`` names, and of code that is cloned."""
    repository = Path(tmp_path_factory.mktemp("repository"))
    (repository / "flows").mkdir()
    (repository / "flows" / "cloned.py").write_text(CLONED)
    (repository / "flows" / "beside.py").write_text('WORD = "of the repository"\n')
    for command in (("init", "-q"), ("add", "."), ("commit", "-q", "-m", "all")):
        subprocess.run(["git", *GIT, *command], cwd=repository, check=True)
    clone = {f"{STEPS}.git_clone": {"repository": f"file://{repository}"}}
    made = {"cloned": pools.run("flows/cloned.py:cloned", pull_steps=[clone])}
    with temporary_settings(in_force(pools.ours.place.api_url)):
        found = flow.from_source(str(FLOWS.parent), f"{FLOWS.name}:counts")
        ids = [
            found.deploy(f"deployed-{pool.name}", pool.name, print_next_steps=False, build=False)
            for pool in pools.both
        ]
    return made | {
        "deployed": Pair(
            *(
                pools.run_deployment(pool, str(id_), {"number": 4})
                for pool, id_ in zip(pools.both, ids, strict=True)
            )
        )
    }


CLONED = """
from beside import WORD
from prefect import flow

@flow(log_prints=True)
def cloned(notes):
    with open(notes, "a") as file:
        file.write(WORD + "\\n")
    print(WORD)
"""


def test_a_cloned_repository_runs_the_same(more_runs: dict[str, Pair]) -> None:
    ours, theirs = more_runs["cloned"]
    assert ours.state == theirs.state == ("COMPLETED", "Completed")
    assert ours.told == theirs.told == ["of the repository"]
    logs = settled(Pair(ours, theirs), "logs")
    assert logs[0] == logs[1]


def test_what_deploy_made_runs_the_same(more_runs: dict[str, Pair]) -> None:
    ours, theirs = more_runs["deployed"]
    assert ours.state == theirs.state == ("COMPLETED", "Completed")
    assert ours.told == theirs.told == ["counted 4 None"]
