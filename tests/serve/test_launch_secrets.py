"""Passwords are readable nowhere; large inputs do not go through Prefect."""

import json
from typing import Any
from uuid import UUID

import pytest

from kodosumi_prefect.launch.inputs import LARGEST
from kodosumi_prefect.launch.masking import MASK, mask_inputs
from tests.serve.launches import Launcher, request

HERE = "tests.samples.entrypoints"
SECRET = "correct-horse-battery"


def everything(launcher: Launcher, fid: str) -> str:
    """All that Prefect and our database say about a run."""
    tables = ("execution", "event", "payload", "schedule", "seen")
    rows = [launcher.rows(f"SELECT * FROM kodosumi.{table}") for table in tables]
    told = launcher.prefect("GET", f"flow_runs/{fid}")
    logs = launcher.prefect("POST", "logs/filter", limit=200)
    return json.dumps([rows, told, logs], default=str)


def test_a_password_reaches_the_run_and_is_readable_nowhere(launcher: Launcher) -> None:
    endpoint = launcher.endpoint("secretive", secrets=frozenset({"password"}))
    # The service hands it on under another name, too.
    given = {"password": SECRET, "user": "ada", "again": {"key": SECRET}}
    fid = launcher.launch(f"{HERE}:tells_secret", given, endpoint=endpoint)
    assert SECRET not in everything(launcher, fid)
    recorded = launcher.execute(fid)
    assert recorded.final == {"int": len(SECRET) * 1001}
    assert SECRET not in everything(launcher, fid)
    shown = {"password": MASK, "user": "ada", "again": {"key": MASK}}
    assert json.loads(recorded.of("inputs")[0]) == {"dict": shown}
    assert launcher.flow_run(fid).parameters["inputs"] == shown


def test_secrets_are_gone_when_the_run_is_over(launcher: Launcher) -> None:
    endpoint = launcher.endpoint("secretive", secrets=frozenset({"password"}))
    given = {"password": SECRET, "again": {"key": ""}}
    fid = launcher.launch(f"{HERE}:tells_secret", given, endpoint=endpoint)
    kept = "SELECT secrets FROM kodosumi.payload WHERE fid = %s"
    assert bytes(launcher.rows(kept, UUID(fid))[0]["secrets"])
    launcher.execute(fid)
    assert launcher.rows(kept, UUID(fid)) == [{"secrets": None}]
    again = launcher.execute(fid)
    assert "deleted when it ended" in again.row["error"]


def test_secrets_of_one_run_are_not_given_to_another(launcher: Launcher) -> None:
    endpoint = launcher.endpoint("secretive", secrets=frozenset({"password"}))
    given = {"password": SECRET, "again": {"key": ""}}
    fid = launcher.launch(f"{HERE}:tells_secret", given, endpoint=endpoint)
    run = launcher.flow_run(fid)
    path = f"deployments/{run.deployment_id}/create_flow_run"
    copied = launcher.prefect("POST", path, parameters=run.parameters)["id"]
    assert "were deleted" in launcher.execute(copied).row["error"]


@pytest.mark.parametrize("size", [LARGEST // 2, LARGEST * 20])
def test_large_inputs_reach_the_run_and_its_record(launcher: Launcher, size: int) -> None:
    text = "x" * size
    fid = launcher.launch(f"{HERE}:measures", {"text": text})
    in_prefect = len(json.dumps(launcher.flow_run(fid).parameters))
    assert in_prefect < LARGEST
    recorded = launcher.execute(fid)
    assert recorded.final == {"int": size}
    assert json.loads(recorded.of("inputs")[0]) == {"dict": {"text": text}}


def test_prefect_evaluates_no_templates_in_inputs(launcher: Launcher) -> None:
    launcher.prefect("POST", "variables/", name="hidden", value="of the operators")
    given = {"a": {"__prefect_kind": "workspace_variable", "variable_name": "hidden"}}
    recorded = launcher.run(f"{HERE}:other_order", given)
    assert recorded.final == {"dict": given}


def test_values_typed_as_a_password_are_masked_under_any_name() -> None:
    found = mask_inputs({"list": ["a", SECRET], "other": "b"}, {"password"}, [SECRET])
    assert found.inputs == {"list": ["a", MASK], "other": "b"}
    assert found.secrets == [(("list", 1), SECRET)]


def test_what_a_password_field_held_travels_in_the_scope(launcher: Launcher) -> None:
    asked = request(**{"kodosumi.secrets": [SECRET]})
    fid = launcher.launch(f"{HERE}:other_order", {"renamed": SECRET}, request=asked)
    inputs: dict[str, Any] = launcher.flow_run(fid).parameters["inputs"]
    assert inputs == {"renamed": MASK}
