"""Prefect's hooks: reported once, the user's own stay, and they never fail a run."""

import logging
import pickle

import prefect
import pytest
from prefect.client.schemas.objects import FlowRun, State
from prefect.flows import Flow

from kodosumi_prefect import flow, tracer
from kodosumi_prefect.adapter import hooks
from kodosumi_prefect.adapter.execution import live_scopes
from tests.services import Place


def test_each_state_is_stored_once_though_hook_and_wrapper_report_it(place: Place) -> None:
    @flow
    def reported() -> None:
        tracer.debug("here")

    recorded = place.run(reported)
    assert recorded.of("status") == ["starting", "running", "finished"]


def test_hooks_of_the_user_are_called_too(place: Place) -> None:
    seen: list[str | None] = []

    def note(flow: Flow, flow_run: FlowRun, state: State) -> None:
        seen.append(state.name)

    @flow(on_running=[note], on_completion=[note])
    def hooked() -> None: ...

    recorded = place.run(hooked)
    assert seen == ["Running", "Completed"]
    assert recorded.of("status")[-1] == "finished"


def test_a_list_of_hooks_of_the_user_is_not_changed() -> None:
    def note(flow: Flow, flow_run: FlowRun, state: State) -> None: ...

    mine = [note]
    flow(on_failure=mine)(lambda: None)
    assert mine == [note]


def test_a_plain_flow_reports_its_end_once_it_used_the_tracer(place: Place) -> None:
    @prefect.flow
    def plain() -> str:
        tracer.debug("here")
        return "result"

    recorded = place.run(plain)
    assert recorded.told == [
        ("status", "starting"),
        ("status", "running"),
        ("debug", "here"),
        ("final", '{"str": "result"}'),
        ("status", "finished"),
    ]
    assert plain.on_completion_hooks.count(hooks.record_state) == 1
    place.run(plain)
    assert plain.on_completion_hooks.count(hooks.record_state) == 1


def test_a_hook_that_cannot_record_does_not_fail_the_run(
    place: Place, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    def broken(*_args: object) -> None:
        raise RuntimeError("the recorder is broken")

    @flow
    def unlucky() -> str:
        return "own result"

    monkeypatch.setattr(hooks, "report_state", broken)
    with caplog.at_level(logging.ERROR, "kodosumi_prefect"):
        assert unlucky() == "own result"
    assert any("was not recorded" in record.message for record in caplog.records)
    assert live_scopes() == []


def test_a_crash_is_recorded_with_its_reason(place: Place) -> None:
    @flow
    def crashes() -> None:
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        crashes()
    recorded = place.recorded(place.fids("crashes")[-1])
    assert recorded.row["status"] == "error"
    assert recorded.row["state_name"] == "Crashed"
    assert [kind for kind, _ in recorded.told[-2:]] == ["error", "status"]
    assert recorded.row["error"] == "KeyboardInterrupt"


def test_what_prefect_logs_of_our_hooks_is_in_nobodys_log(
    place: Place, caplog: pytest.LogCaptureFixture
) -> None:
    def mine(flow: Flow, flow_run: FlowRun, state: State) -> None: ...

    @flow(on_running=[mine], on_completion=[mine])
    def hooked() -> None: ...

    @prefect.flow
    def plain() -> None:
        tracer.debug("here")

    with caplog.at_level(logging.INFO):
        place.run(hooked)
        place.run(plain)
    lines = [record.getMessage() for record in caplog.records if "ook " in record.getMessage()]
    assert lines == [
        "Running hook 'mine' in response to entering state 'Running'",
        "Hook 'mine' finished running successfully",
        "Running hook 'mine' in response to entering state 'Completed'",
        "Hook 'mine' finished running successfully",
    ]


def test_a_hook_of_a_user_that_is_named_like_ours_is_logged(
    place: Place, caplog: pytest.LogCaptureFixture
) -> None:
    def record_state(flow: Flow, flow_run: FlowRun, state: State) -> None: ...

    @flow(on_completion=[record_state])
    def namesake() -> None: ...

    with caplog.at_level(logging.INFO):
        place.run(namesake)
    assert "Hook 'record_state' finished running successfully" in caplog.messages


def test_our_hook_travels_by_reference() -> None:
    assert pickle.loads(pickle.dumps(hooks.record_state)) is hooks.record_state
