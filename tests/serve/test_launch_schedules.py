"""Forms saved as schedules: ordinary ones of Prefect that belong to who made them."""

import json
from typing import Any
from uuid import UUID, uuid4

import pytest
from prefect.client.orchestration import get_client

from kodosumi_prefect.http.statuses import status_of
from kodosumi_prefect.launch import schedules
from kodosumi_prefect.launch.firing import When
from kodosumi_prefect.launch.launch import Launch
from kodosumi_prefect.launch.refusal import LaunchError, UnavailableLaunchError
from kodosumi_prefect.owner import Owner
from tests.samples import typed
from tests.serve.launches import USER, Launcher, request
from tests.waiting import wait_for

HERE = "tests.samples.entrypoints"
SECRET = "correct-horse-battery"


def scheduled(launcher: Launcher, wanted: Any, inputs: Any = None, **more: Any) -> str:
    launch = Launch(request(), more.pop("entry_point", f"{HERE}:other_order"), inputs or {"a": 1})
    return launcher.do(launch.schedule, launcher.endpoint("scheduled", **more), wanted)


def one(launcher: Launcher, id_: str, owner: str | None = USER) -> dict[str, Any] | None:
    found = launcher.do(schedules.schedules_of, owner, launcher.place.settings)
    return next((row for row in found if row["id"] == id_), None)


def of_prefect(launcher: Launcher, row: dict[str, Any]) -> dict[str, Any]:
    found = launcher.prefect("GET", f"deployments/{row['deployment']['id']}/schedules")
    (schedule,) = [each for each in found if each["id"] == row["id"]]
    return dict(schedule)


def test_a_schedule_is_one_of_prefect(launcher: Launcher) -> None:
    wanted = {"cron": "0  6 * * 1", "timezone": "Europe/Berlin", "name": "Mondays"}
    row = one(launcher, scheduled(launcher, json.dumps(wanted)))
    assert row is not None
    assert (row["cron"], row["timezone"], row["interval"]) == ("0 6 * * 1", "Europe/Berlin", None)
    assert (row["summary"], row["owner"], row["active"]) == ("Mondays", USER, True)
    assert len(row["next"]) == 5
    assert row["next"] == sorted(row["next"])
    assert row["last_run"] is None
    known = of_prefect(launcher, row)
    assert known["active"]
    assert known["parameters"]["inputs"] == {"a": 1}
    assert known["parameters"]["entry_point"] == f"{HERE}:other_order"


def test_a_deployment_deleted_meanwhile_is_made_again(launcher: Launcher) -> None:
    first = one(launcher, scheduled(launcher, {"interval": 3600}))
    assert first is not None
    launcher.prefect("DELETE", f"deployments/{first['deployment']['id']}")
    second = one(launcher, scheduled(launcher, {"interval": 3600}))
    assert second is not None
    assert second["deployment"]["id"] != first["deployment"]["id"]
    assert second["active"]


def due(launcher: Launcher, row: dict[str, Any]) -> str:
    """A run that Prefect's scheduler made of a schedule; its fid."""
    body = {
        "deployments": {"id": {"any_": [row["deployment"]["id"]]}},
        "flow_runs": {"state": {"type": {"any_": ["SCHEDULED"]}}},
    }

    # What its scheduler does once a minute.
    launcher.prefect("POST", f"deployments/{row['deployment']['id']}/schedule", min_runs=1)

    def made() -> str | None:
        runs = launcher.prefect("POST", "flow_runs/filter", **body)
        ids = [run["id"] for run in runs if (run["created_by"] or {}).get("id") == row["id"]]
        return ids[0] if ids else None

    return str(wait_for(made, 60, "a scheduled run"))


def test_its_runs_belong_to_who_made_it_and_get_their_secrets(launcher: Launcher) -> None:
    given = {"password": SECRET, "again": {"key": ""}}
    id_ = scheduled(
        launcher,
        {"interval": 3600},
        given,
        entry_point=f"{HERE}:tells_secret",
        secrets=frozenset({"password"}),
    )
    row = one(launcher, id_)
    assert row is not None
    assert row["interval"] == 3600
    assert SECRET not in json.dumps(of_prefect(launcher, row))
    fid = due(launcher, row)
    recorded = launcher.execute(fid)
    assert recorded.final == {"int": len(SECRET) * 1000}
    assert recorded.row["owner"] == USER
    assert json.loads(recorded.of("meta")[0])["dict"]["username"] == "ada"
    assert SECRET not in json.dumps([event.payload for event in recorded.events])
    again = one(launcher, id_)
    assert again is not None
    assert again["last_run"]["fid"] == fid
    # Kept for the runs to come, and gone with the schedule.
    kept = "SELECT secrets FROM kodosumi.payload WHERE kept AND secrets IS NOT NULL"
    before = len(launcher.rows(kept))
    launcher.do(schedules.delete, id_, USER, launcher.place.settings)
    assert len(launcher.rows(kept)) == before - 1


def test_its_runs_get_inputs_of_the_types_that_were_given(launcher: Launcher) -> None:
    id_ = scheduled(
        launcher, {"interval": 3600}, typed.VALUES, entry_point="tests.samples.typed:compare"
    )
    row = one(launcher, id_)
    assert row is not None
    assert launcher.execute(due(launcher, row)).final == {"__list__": []}
    launcher.do(schedules.delete, id_, USER, launcher.place.settings)


@pytest.mark.parametrize(
    ("wanted", "named"),
    [
        ({"cron": "0 0 30 2 *"}, "never fires"),
        ({"cron": "61 * * * *"}, "is not valid"),
        ({"cron": "* * * * * *"}, "five fields"),
        ({"cron": "H * * * *"}, "is not valid"),
        ({"cron": 7}, "five fields"),
        ({"cron": "0 6 * * *", "timezone": "Europe/Paderborn"}, "Europe/Paderborn"),
        ({"cron": "0 6 * * *", "timezone": 7}, "timezone 7"),
        ({"interval": 59}, "59"),
        ({"interval": float("inf")}, "inf"),
        ({"interval": float("nan")}, "nan"),
        ({"interval": "60"}, "'60'"),
        ({"interval": True}, "True"),
        ({"cron": "0 6 * * *", "interval": 60}, "either"),
        ({}, "either"),
        ({"every": 60}, "every"),
        ("{", "JSON"),
        ([], "object"),
        ({"interval": 60, "name": "x" * 1000}, "200"),
    ],
)
async def test_what_never_fires_or_too_often_is_refused_in_one_line(
    wanted: Any, named: str
) -> None:
    with pytest.raises(LaunchError) as caught:
        await When.of(wanted)
    assert status_of(caught.value) == 422
    assert named in caught.value.detail
    assert "\n" not in caught.value.detail


def test_pausing_resuming_and_deleting(launcher: Launcher) -> None:
    id_ = scheduled(launcher, {"interval": 60})
    settings = launcher.place.settings
    paused = launcher.do(schedules.pause, id_, USER, settings)
    assert (paused["active"], paused["next"]) == (False, [])
    assert not of_prefect(launcher, paused)["active"]
    resumed = launcher.do(schedules.resume, id_, USER, settings)
    assert of_prefect(launcher, resumed)["active"]
    launcher.do(schedules.delete, id_, USER, settings)
    assert one(launcher, id_) is None
    with pytest.raises(LaunchError, match=id_):
        launcher.do(schedules.pause, id_, USER, settings)


def test_nobody_elses_schedule_can_be_touched(launcher: Launcher) -> None:
    id_ = scheduled(launcher, {"interval": 60})
    assert one(launcher, id_, "somebody else") is None
    assert one(launcher, id_, None) is not None
    for act in (schedules.pause, schedules.resume, schedules.delete):
        with pytest.raises(LaunchError) as caught:
            launcher.do(act, id_, "somebody else", launcher.place.settings)
        assert status_of(caught.value) == 404


def test_what_people_change_in_prefect_shows(launcher: Launcher) -> None:
    id_ = scheduled(launcher, {"interval": 60})
    row = one(launcher, id_)
    assert row is not None
    path = f"deployments/{row['deployment']['id']}/schedules/{id_}"
    rule = {"cron": "5 5 * * *", "timezone": "America/Lima"}
    launcher.prefect("PATCH", path, schedule=rule, active=False)
    changed = one(launcher, id_)
    assert changed is not None
    assert (changed["cron"], changed["timezone"]) == ("5 5 * * *", "America/Lima")
    assert not changed["active"]


def test_a_switch_in_prefects_pages_does_not_lose_the_inputs(launcher: Launcher) -> None:
    given = {"a": "kept"}
    id_ = scheduled(launcher, {"interval": 3600}, given)
    row = one(launcher, id_)
    assert row is not None
    path = f"deployments/{row['deployment']['id']}/schedules/{id_}"
    launcher.prefect("PATCH", path, active=True)
    assert of_prefect(launcher, row)["parameters"] == {}, "Prefect keeps them: this can go"
    recorded = launcher.execute(due(launcher, row))
    assert recorded.final == {"dict": given}
    assert json.loads(recorded.of("inputs")[0]) == {"dict": given}
    assert launcher.flow_run(recorded.fid).parameters["inputs"] == given
    assert one(launcher, id_) is not None
    assert of_prefect(launcher, row)["parameters"]["inputs"] == given


@pytest.mark.parametrize("act", [schedules.pause, schedules.resume])
def test_what_people_delete_in_prefect_is_said_and_forgotten(launcher: Launcher, act: Any) -> None:
    id_ = scheduled(launcher, {"interval": 60})
    row = one(launcher, id_)
    assert row is not None
    launcher.prefect("DELETE", f"deployments/{row['deployment']['id']}/schedules/{id_}")
    with pytest.raises(LaunchError, match="deleted in Prefect") as caught:
        launcher.do(act, id_, USER, launcher.place.settings)
    assert status_of(caught.value) == 404
    noted = "SELECT FROM kodosumi.schedule WHERE id = %s"
    assert launcher.rows(noted, UUID(id_)) == []


def test_the_list_forgets_what_is_gone_from_prefect(launcher: Launcher) -> None:
    id_ = scheduled(launcher, {"interval": 60})
    row = one(launcher, id_)
    assert row is not None
    launcher.prefect("DELETE", f"deployments/{row['deployment']['id']}")
    assert one(launcher, id_) is None
    assert launcher.rows("SELECT FROM kodosumi.schedule WHERE id = %s", UUID(id_)) == []


def test_schedules_of_a_vanished_endpoint_rest_until_it_is_back(launcher: Launcher) -> None:
    uid, settings = uuid4().hex, launcher.place.settings
    launch = Launch(request({"x-kodosumi-endpoint": uid}), f"{HERE}:nothing")
    endpoint = launcher.endpoint("vanishing")
    id_, by_hand = (launcher.do(launch.schedule, endpoint, {"interval": 60}) for _ in range(2))
    launcher.do(schedules.pause, by_hand, USER, settings)
    assert launcher.do(schedules.pause_endpoints, [uid], "it vanished", settings) == [id_]
    row = one(launcher, id_)
    assert row is not None
    assert (row["active"], row["paused_because"]) == (False, "it vanished")
    assert launcher.do(schedules.resume_endpoints, [uid], settings) == [id_]
    states = [row["active"] for each in (id_, by_hand) if (row := one(launcher, each))]
    assert states == [True, False]


def test_any_deployment_can_be_scheduled(launcher: Launcher) -> None:
    fid = launcher.launch(f"{HERE}:nothing")
    deployment = launcher.flow_run(fid).deployment_id

    async def create() -> str:
        when = await When.of({"interval": 600})
        owner = Owner("somebody", "some body")
        return await schedules.create(str(deployment), when, {"inputs": {}}, owner, summary="Mine")

    row = one(launcher, launcher.do(create), "somebody")
    assert row is not None
    assert row["summary"] == "Mine"
    with pytest.raises(LaunchError, match="no longer in Prefect"):
        launcher.do(schedules.create, str(uuid4()), When(None, 60.0, "UTC"), {}, None)


def test_no_schedule_begins_before_it_is_known_whose_it_is(
    launcher: Launcher, monkeypatch: pytest.MonkeyPatch
) -> None:
    fid = launcher.launch(f"{HERE}:nothing")
    deployment = launcher.flow_run(fid).deployment_id
    assert deployment is not None

    async def away(*_: Any, **__: Any) -> None:
        with get_client(sync_client=True) as client:
            path = f"/deployments/{deployment}/schedules"
            seen.extend(client._client.get(path).json())
        raise UnavailableLaunchError("Postgres did not answer")

    seen: list[dict[str, Any]] = []
    before = len(launcher.prefect("GET", f"deployments/{deployment}/schedules"))
    monkeypatch.setattr("kodosumi_prefect.launch.database.query_rows", away)
    with pytest.raises(LaunchError, match="Postgres"):
        launcher.do(schedules.create, deployment, When(None, 60.0, "UTC"), {}, None)
    assert any(not each["active"] for each in seen)
    assert len(launcher.prefect("GET", f"deployments/{deployment}/schedules")) == before
