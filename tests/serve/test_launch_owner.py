"""A run belongs to who launched it, and to nobody else."""

from uuid import UUID, uuid4

import pytest

from kodosumi_prefect.http.statuses import status_of
from kodosumi_prefect.keys import run_keys
from kodosumi_prefect.launch.deployment_launch import launch_deployment
from kodosumi_prefect.launch.refusal import LaunchError
from kodosumi_prefect.owner import Owner, signed, verified
from kodosumi_prefect.vocabulary import OWNER_LABEL
from tests.serve.launches import USER, Launcher, request

HERE = "tests.samples.entrypoints"


def test_a_launched_run_belongs_to_its_caller_at_once(launcher: Launcher) -> None:
    fid = launcher.launch(f"{HERE}:nothing")
    recorded = launcher.place.recorded(fid)
    assert recorded.row["owner"] == USER
    assert recorded.row["status"] == "starting"
    assert launcher.execute(fid).row["owner"] == USER


def test_nobody_owns_what_nobody_launched(launcher: Launcher) -> None:
    fid = launcher.launch(f"{HERE}:nothing", request=request(user=""))
    assert launcher.place.recorded(fid).row["owner"] is None


def test_a_label_says_nothing_on_another_run(launcher: Launcher) -> None:
    run = launcher.flow_run(launcher.launch(f"{HERE}:nothing"))
    path = f"deployments/{run.deployment_id}/create_flow_run"
    copied = launcher.prefect("POST", path, labels={OWNER_LABEL: run.labels[OWNER_LABEL]})["id"]
    assert launcher.execute(copied).row["owner"] is None


def test_a_forged_label_says_nothing(launcher: Launcher) -> None:
    settings = launcher.place.settings
    launch = str(uuid4())
    genuine = signed(Owner(USER, "ada"), launch, settings)
    assert verified({OWNER_LABEL: genuine}, launch, settings) == Owner(USER, "ada")
    said, _, mac = genuine.partition(".")
    other = signed(Owner("x", "eve"), launch, settings).partition(".")[0]
    for forged in (f"{other}.{mac}", f"{said}.", f"{said}.ü", said, "", 7, f"?.{mac}"):
        assert verified({OWNER_LABEL: forged}, launch, settings) is None
    assert run_keys(settings).labels


def test_a_foreign_deployment_is_launched_for_its_caller(launcher: Launcher) -> None:
    run = launcher.flow_run(launcher.launch(f"{HERE}:nothing"))
    launch = str(uuid4())

    async def launched() -> str:
        return await launch_deployment(
            UUID(str(run.deployment_id)),
            {"inputs": {}},
            Owner("somebody", "some body"),
            flow_name="theirs",
            launch_id=launch,
        )

    fid = launcher.do(launched)
    assert launcher.do(launched) == fid, "Prefect asked twice makes one run"
    row = launcher.place.recorded(fid).row
    assert (row["owner"], row["status"]) == ("somebody", "starting")


def test_a_deployment_that_is_gone_is_named(launcher: Launcher) -> None:
    gone = str(uuid4())
    with pytest.raises(LaunchError, match=gone) as caught:
        launcher.do(launch_deployment, gone, {}, None)
    assert status_of(caught.value) == 404
