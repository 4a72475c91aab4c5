"""Cancelling over HTTP."""

import socket
from collections.abc import Iterator
from uuid import uuid4

import httpx
import prefect
import pytest
from prefect.client.orchestration import get_client
from prefect.client.schemas.objects import FlowRun
from prefect.settings import PREFECT_API_URL, temporary_settings
from prefect.states import Completed, Running, Scheduled
from pydantic import SecretStr

from kodosumi_prefect.panel.executions import cancellation
from kodosumi_prefect.settings import write_address
from tests.panel.panel_runs import Stand, serving
from tests.services import Place, record_prefect


@pytest.fixture
def panel(place: Place) -> Iterator[Stand]:
    """A panel on the database and the Prefect that flows of ``place`` use."""
    settings = place.settings.model_copy(update={"database_url": SecretStr(place.database)})
    record_prefect(place.settings, place.api_url)
    with serving(settings) as stand:
        yield stand
    write_address(place.settings, "prefect", None)


@prefect.flow
def waiting() -> None: ...


def made(state: prefect.State | None = None) -> FlowRun:
    """A flow run in a state, executed by nobody."""
    with get_client(sync_client=True) as client:
        return client.create_flow_run(waiting, state=state)


def state_of(run: FlowRun) -> str | None:
    with get_client(sync_client=True) as client:
        return client.read_flow_run(run.id).state_name


def test_a_run_is_cancelled_though_nobody_recorded_it_yet(panel: Stand):
    run = made()
    answer = panel.client.post(f"/outputs/{run.id}/cancel")
    assert answer.status_code == 202
    assert answer.json() == {"fid": str(run.id), "state": state_of(run)}
    assert state_of(run) in ("Cancelling", "Cancelled")


def test_a_scheduled_run_is_cancelled_at_once(panel: Stand):
    run = made(Scheduled())
    answer = panel.client.post(f"/outputs/{run.id}/cancel")
    assert (answer.status_code, answer.json()["state"]) == (202, "Cancelled")
    assert panel.client.post(f"/outputs/{run.id}/cancel").status_code == 409


def test_a_run_under_way_is_asked_to_stop(panel: Stand):
    run = made(Running())
    assert panel.client.post(f"/outputs/{run.id}/cancel").json()["state"] == "Cancelling"


def test_a_run_that_is_over_stays_as_it_is(panel: Stand):
    run = made(Completed())
    answer = panel.client.post(f"/outputs/{run.id}/cancel")
    assert answer.status_code == 409
    assert str(run.id) in answer.json()["detail"]
    assert state_of(run) == "Completed"


def test_unknown_runs_and_malformed_ids_are_told_apart(panel: Stand):
    answer = panel.client.post(f"/outputs/{uuid4()}/cancel")
    assert answer.status_code == 404
    assert panel.client.post("/outputs/nonsense/cancel").status_code == 404


@pytest.mark.parametrize(
    "headers",
    [
        {"Sec-Fetch-Site": "cross-site"},
        {"Sec-Fetch-Site": "same-site"},
        {"Origin": "https://elsewhere.example"},
        {"Origin": "null"},
    ],
)
def test_a_page_of_another_site_cannot_cancel(panel: Stand, headers: dict[str, str]):
    run = made(Running())
    answer = panel.client.post(f"/outputs/{run.id}/cancel", headers=headers)
    assert answer.status_code == 403
    assert state_of(run) == "Running"


def test_the_panel_itself_can(panel: Stand):
    run = made(Running())
    headers = {"Sec-Fetch-Site": "same-origin", "Origin": panel.url}
    assert panel.client.post(f"/outputs/{run.id}/cancel", headers=headers).status_code == 202


async def test_a_prefect_that_hangs_is_not_waited_for(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(cancellation, "PREFECT_ANSWER_SECONDS", 0.5)
    with socket.create_server(("127.0.0.1", 0)) as mute:
        url = f"http://127.0.0.1:{mute.getsockname()[1]}/api"
        with (
            temporary_settings({PREFECT_API_URL: url}),
            pytest.raises(httpx.ReadTimeout, match="no answer within"),
        ):
            await cancellation.cancel(uuid4(), "why")
