"""Retrying over HTTP: the same flow run, at its next attempt."""

import json
from collections.abc import Iterator
from typing import Any
from uuid import UUID, uuid4

import prefect
import pytest
from prefect.client.orchestration import get_client
from prefect.states import Completed, Failed, Running
from pydantic import SecretStr

from kodosumi_prefect.cli import runs
from kodosumi_prefect.events import Event, State
from kodosumi_prefect.panel.executions.retrying import NotRetriedError
from kodosumi_prefect.settings import use_settings, write_address
from tests.panel.panel_runs import Run, Stand, serving
from tests.services import Place, record_prefect
from tests.spooler.recording import execute


@pytest.fixture
def panel(place: Place) -> Iterator[Stand]:
    """A panel on the database and the Prefect that flows of ``place`` use."""
    settings = place.settings.model_copy(update={"database_url": SecretStr(place.database)})
    record_prefect(place.settings, place.api_url)
    with serving(settings) as stand:
        yield stand
    write_address(place.settings, "prefect", None)


@prefect.flow
def deployed(part: int = 0) -> None: ...


def made(state: prefect.State[Any], *, deployment: bool = True) -> tuple[str, str | None]:
    """A flow run in a state, executed by nobody; its id and its deployment's."""
    with get_client(sync_client=True) as client:
        if not deployment:
            return str(client.create_flow_run(deployed, state=state).id), None
        flow_id = client.create_flow(deployed)
        id_ = client.create_deployment(flow_id, f"of-retries-{uuid4().hex[:8]}")
        run = client.create_flow_run_from_deployment(id_)
        client.set_flow_run_state(run.id, state, force=True)
        return str(run.id), str(id_)


def recorded(panel: Stand, fid: str, word: str = "error", **header: Any) -> Run:
    """What is recorded of such a run."""
    run = panel.run(**header)
    run.fid = fid
    run.begin(part=1)
    return run.fail() if word == "error" else run.finish() if word == "finished" else run


def state_of(fid: str) -> tuple[str | None, str | None]:
    with get_client(sync_client=True) as client:
        run = client.read_flow_run(UUID(fid))
    return run.state_name, str(run.state_type.value) if run.state_type else None


@pytest.mark.parametrize("state", [Failed(), Completed()])
def test_a_run_that_is_over_awaits_its_next_attempt(panel: Stand, state: Any) -> None:
    fid, deployment = made(state)
    recorded(panel, fid, deployment_id=deployment)
    answer = panel.client.post(f"/outputs/{fid}/retry")
    assert (answer.status_code, answer.json()) == (202, {"fid": fid, "state": "AwaitingRetry"})
    assert state_of(fid) == ("AwaitingRetry", "SCHEDULED")
    again = panel.client.post(f"/outputs/{fid}/retry")
    assert (
        again.status_code == 409 and "it is not over, but AwaitingRetry" in again.json()["detail"]
    )
    (entry,) = panel.json(
        "/audit",
        params={"target": fid, "action": "retry", "limit": 1},
        headers={"accept": "application/json"},
    )["items"][:1]
    assert entry["action"] == "retry"


def test_the_command_line_retries_by_the_beginning_of_an_id(
    panel: Stand, capsys: pytest.CaptureFixture[str]
) -> None:
    fid, deployment = made(Failed())
    recorded(panel, fid, deployment_id=deployment)
    with use_settings(panel.settings):
        runs.retry(fid[:12])
        assert f"{fid}: AwaitingRetry" in capsys.readouterr().out
        with pytest.raises(NotRetriedError, match="not over"):
            runs.retry(fid)
    assert state_of(fid)[0] == "AwaitingRetry"


def test_the_page_leads_back_to_the_run_which_goes_on_with_its_next_attempt(panel: Stand) -> None:
    fid, deployment = made(Failed())
    run = recorded(panel, fid, deployment_id=deployment)
    answer = panel.client.post(f"/executions/{fid}/retry")
    assert (answer.status_code, answer.headers["location"]) == (303, f"../{fid}")
    run.attempt = 2
    state = State(str(uuid4()), "SCHEDULED", "AwaitingRetry", "", run.event("x", "").ts)
    run.put(Event(state.ts, "status", "running", 2, state=state))
    row = panel.json(f"/outputs/status/{fid}")
    assert row["status"] == "running" and row["final"] is None


def test_what_nobody_would_pick_up_is_refused_with_why(panel: Stand) -> None:
    fid, _ = made(Failed(), deployment=False)
    recorded(panel, fid)
    answer = panel.client.post(f"/outputs/{fid}/retry")
    assert answer.status_code == 409 and "no deployment" in answer.json()["detail"]
    text = panel.get(f"/executions/{fid}").text
    assert 'data-ask="retry"' not in text and "no deployment, so nobody would pick it up" in text
    fid, deployment = made(Failed())
    recorded(panel, fid, deployment_id=deployment)
    assert 'data-ask="retry"' in panel.get(f"/executions/{fid}").text
    with get_client(sync_client=True) as client:
        client.delete_deployment(UUID(deployment))
    answer = panel.client.post(f"/outputs/{fid}/retry")
    assert answer.status_code == 409 and "deployment" in answer.json()["detail"]
    assert state_of(fid)[0] == "Failed"


def test_the_deployment_is_linked_by_its_name(panel: Stand) -> None:
    fid, deployment = made(Failed())
    recorded(panel, fid, deployment_id=deployment)
    text = panel.get(f"/executions/{fid}").text
    assert ">Flow run in Prefect</a>" in text and ">Deployment in Prefect</a>" in text
    execute(
        panel.database,
        f"UPDATE kodosumi.execution SET deployment_name = 'daily' WHERE fid = '{fid}'",
    )
    assert ">Deployment daily in Prefect</a>" in panel.get(f"/executions/{fid}").text


def test_a_run_that_goes_on_is_not_retried(panel: Stand) -> None:
    fid, deployment = made(Running())
    recorded(panel, fid, "running", deployment_id=deployment)
    answer = panel.client.post(f"/outputs/{fid}/retry")
    assert answer.status_code == 409 and "not over" in answer.json()["detail"]
    assert state_of(fid)[0] == "Running"
    assert panel.client.post(f"/outputs/{uuid4()}/retry").status_code == 404


def test_passwords_that_are_gone_are_asked_for_by_running_it_again(panel: Stand) -> None:
    fid, deployment = made(Failed())
    recorded(panel, fid, deployment_id=deployment)
    kept = json.dumps({"password": "********"})
    execute(
        panel.database,
        f"INSERT INTO kodosumi.payload (fid, inputs, kept) VALUES ('{fid}', '{kept}', false)",
    )
    answer = panel.client.post(f"/outputs/{fid}/retry")
    assert answer.status_code == 409 and "passwords were deleted" in answer.json()["detail"]
    assert state_of(fid)[0] == "Failed"


def test_only_who_owns_it_retries_a_run_and_no_other_site(panel: Stand) -> None:
    panel.app.state.panel.settings.unowned = "all"
    fid, deployment = made(Failed())
    recorded(panel, fid, deployment_id=deployment)
    mira = panel.person(f"mira-{uuid4().hex[:6]}")
    assert mira.client.post(f"/outputs/{fid}/retry").status_code == 403
    for headers in ({"Sec-Fetch-Site": "cross-site"}, {"Origin": "https://elsewhere.example"}):
        assert panel.client.post(f"/outputs/{fid}/retry", headers=headers).status_code == 403
    assert state_of(fid)[0] == "Failed"


def test_a_run_that_was_cancelled_here_says_so_until_it_is_over(panel: Stand) -> None:
    fid, _ = made(Running(), deployment=False)
    run = recorded(panel, fid, "running")
    assert 'data-ask="cancel"' in panel.get(f"/executions/{fid}").text
    assert panel.client.post(f"/outputs/{fid}/cancel").json()["state"] == "Cancelling"
    for _ in range(2):  # also when it is loaded again
        text = panel.get(f"/executions/{fid}").text
        assert 'data-ask="cancel"' not in text and "Cancelling…" in text
    run.fail()
    assert "Cancelling…" not in panel.get(f"/executions/{fid}").text


def test_a_run_that_prefect_is_cancelling_is_not_asked_to_once_more(panel: Stand) -> None:
    run = panel.run().begin()
    state = State(str(uuid4()), "CANCELLING", "Cancelling", "", run.event("x", "").ts + 1)
    run.put(Event(state.ts, "status", "running", 1, state=state))
    text = panel.get(f"/executions/{run.fid}").text
    assert 'data-ask="cancel"' not in text and "Cancelling…" in text
