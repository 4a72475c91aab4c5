"""Spans of other libraries belong to the run that the calling code works for."""

import threading
from typing import Any

import pytest

from kodosumi_prefect.adapter.at_work import at_work
from kodosumi_prefect.instrumentation import of_run
from kodosumi_prefect.scope import Scope, entered
from kodosumi_prefect.settings import Settings, use_settings
from tests.spooler.recording import fresh


class Client:
    """Keeps what is emitted."""

    def __init__(self) -> None:
        self.emitted: list[tuple[str, Any]] = []

    def emit(self, fid: str, event: Any) -> None:
        self.emitted.append((fid, event))


@pytest.fixture
def client(monkeypatch: pytest.MonkeyPatch) -> Client:
    client = Client()
    monkeypatch.setattr(of_run, "get_client", lambda: client)
    return client


def test_spans_outside_of_runs_are_nobodys(settings: Settings) -> None:
    with use_settings(settings):
        assert of_run.span_here("search") is None


def test_spans_of_a_thread_belong_to_the_only_run(settings: Settings, client: Client) -> None:
    scope = Scope(fresh(), attempt=2)

    def search() -> None:
        with use_settings(settings):
            span = of_run.span_here("search", type="tool", input="cats")
            assert span is not None
            span.begin().set(output="a cat").end()

    with at_work(scope):
        thread = threading.Thread(target=search)
        thread.start()
        thread.join()
    assert [(fid, event.kind, event.attempt) for fid, event in client.emitted] == [
        (scope.fid, "span", 2)
    ] * 2


def test_nothing_is_recorded_where_recording_is_off(settings: Settings) -> None:
    off = settings.model_copy(update={"enabled": False})
    with use_settings(off), entered(Scope(fresh())):
        assert of_run.span_here("search") is None
