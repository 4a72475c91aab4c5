"""What a handler gives to ``Launch`` reaches the entrypoint in value and type, by every way."""

import json
from typing import Any

import pytest

from kodosumi_prefect.launch.inputs import LARGEST
from kodosumi_prefect.launch.masking import MASK
from kodosumi_prefect.launch.refusal import FaultyServiceError
from kodosumi_prefect.launch.run_again import run_again
from kodosumi_prefect.owner import Owner
from kodosumi_prefect.vocabulary import SECRETS_SCOPE
from tests.samples import typed
from tests.serve.launches import Launcher, request

HERE = "tests.samples.typed"


def test_values_of_all_types_reach_the_entrypoint(launcher: Launcher) -> None:
    assert launcher.run(f"{HERE}:compare", typed.VALUES).final == {"__list__": []}


@pytest.mark.parametrize("more", [{}, {"text": "x" * LARGEST}])
def test_a_run_again_gets_values_of_the_same_types(
    launcher: Launcher, more: dict[str, Any]
) -> None:
    fid = launcher.launch(f"{HERE}:compare_open", typed.OPEN | more)
    again = launcher.do(run_again, fid, Owner("ada", "ada"), launcher.place.settings)
    assert launcher.execute(again).final == {"__list__": []}


@pytest.mark.parametrize("name", typed.WHOLE)
def test_inputs_are_what_they_were_as_a_whole(launcher: Launcher, name: str) -> None:
    recorded = launcher.run(f"{HERE}:which", typed.WHOLE[name])
    assert recorded.final == {"__list__": [{"str": name}]}


@pytest.mark.parametrize(
    ("name", "envelope"),
    [
        ("list", {"__list__": [{"int": 1}, {"__list__": [{"int": 2}]}]}),
        ("text", {"str": "text"}),
        ("datetime", {"datetime": "2026-11-29T12:30:01.000005"}),
        ("dataclass", {"Plain": {"name": "Ada", "due": "2026-01-02", "tags": ["a", "b"]}}),
    ],
)
def test_the_record_names_the_type_of_the_inputs(
    launcher: Launcher, name: str, envelope: dict[str, Any]
) -> None:
    fid = launcher.launch(f"{HERE}:which", typed.WHOLE[name])
    [stored] = map(json.loads, launcher.execute(fid).of("inputs"))
    if name == "dataclass":
        assert envelope["Plain"].items() <= stored["Plain"].items()
    else:
        assert stored == envelope


def test_values_stay_readable_in_prefect(launcher: Launcher) -> None:
    fid = launcher.launch(f"{HERE}:which", {"due": typed.VALUES["date"], "who": typed.Colour.RED})
    parameters = launcher.flow_run(fid).parameters
    assert parameters["inputs"] == {"due": "0001-01-01", "who": "red"}


def test_a_model_is_taken_by_its_fields(launcher: Launcher) -> None:
    address = typed.Address(street="Main", extra={1: "one"})
    assert launcher.run(f"{HERE}:by_name", address).final == {"__list__": []}


def test_large_values_and_their_secrets_keep_their_types(launcher: Launcher) -> None:
    values = typed.VALUES | {"text": "x" * LARGEST}
    fid = launcher.launch(f"{HERE}:compare", values)
    assert len(json.dumps(launcher.flow_run(fid).parameters)) < LARGEST
    recorded = launcher.execute(fid)
    assert recorded.final == {"__list__": []}
    [stored] = map(json.loads, recorded.of("inputs"))
    assert stored["dict"]["secret"] == MASK
    assert stored["dict"]["model"]["key"] == MASK
    assert stored["dict"]["date"] == "0001-01-01"


def test_inputs_that_are_a_password_are_readable_nowhere(launcher: Launcher) -> None:
    endpoint = launcher.endpoint("secretive", secrets=frozenset({"password"}))
    given = request(**{SECRETS_SCOPE: ("of-the-whole",)})
    fid = launcher.launch(f"{HERE}:which", "of-the-whole", endpoint=endpoint, request=given)
    assert "of-the-whole" not in json.dumps(launcher.flow_run(fid).parameters)
    recorded = launcher.execute(fid)
    assert json.loads(recorded.of("inputs")[0]) == {"str": MASK}


def test_what_cannot_travel_is_refused_at_once_and_no_run_is_made(launcher: Launcher) -> None:
    with pytest.raises(FaultyServiceError, match=r"cannot travel: order\.items\[1\]: builtins"):
        launcher.launch(f"{HERE}:which", {"order": {"items": [1, object()]}})


def test_a_class_that_is_gone_fails_the_run_by_the_name_of_its_key(launcher: Launcher) -> None:
    fid = launcher.launch(f"{HERE}:which", {"who": typed.Address(street="Main")})
    run = launcher.flow_run(fid)
    parameters = json.loads(json.dumps(run.parameters).replace("typed:Address", "typed:Gone"))
    path = f"deployments/{run.deployment_id}/create_flow_run"
    changed_run = launcher.prefect("POST", path, parameters=parameters)["id"]
    assert "who: no Gone can be made" in launcher.execute(changed_run).row["error"]


def test_inputs_of_the_release_before_are_taken_as_they_are(launcher: Launcher) -> None:
    """Their parameters have no types; whatever looks like some is what somebody typed."""
    fid = launcher.launch(f"{HERE}:which", {"a": 1})
    run = launcher.flow_run(fid)
    before = {name: run.parameters["launch"][name] for name in ("flow", "app_url", "username")}
    path = f"deployments/{run.deployment_id}/create_flow_run"
    parameters = run.parameters | {"inputs": typed.VALUES["like a type"], "launch": before}
    parameters["entry_point"] = "tests.samples.entrypoints:other_order"
    old = launcher.prefect("POST", path, parameters=parameters)["id"]
    assert launcher.execute(old).final == {"dict": typed.VALUES["like a type"]}
