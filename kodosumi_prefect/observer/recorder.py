"""What the observer writes into streams: states, openings, and why a run ended badly."""

import time
from typing import Any
from uuid import UUID, uuid5

import orjson
from prefect.client.schemas.objects import FlowRun, StateType
from prefect.client.schemas.objects import State as PrefectState

from kodosumi_prefect.adapter.execution import Meta, header_of, opening
from kodosumi_prefect.events import Event, Kind, State, Status, clean
from kodosumi_prefect.observer.changes import RunChange, TaskChange
from kodosumi_prefect.spans.contents import LEFT_OUT, kept_payload, kept_state
from kodosumi_prefect.spooler.batch import Header
from kodosumi_prefect.spooler.client import SpoolClient
from kodosumi_prefect.status import reason, recorded, status_of
from kodosumi_prefect.stream.rows import ObservedExecution
from kodosumi_prefect.vocabulary import OPEN_STATUS_KEY, error_key, log_key, state_key, task_key


class Recorder:
    """Emits events of executions. Each has a key, so whoever else reports the same adds nothing."""

    def __init__(self, client: SpoolClient) -> None:
        self._client = client

    def begin(self, run: FlowRun, flow_name: str | None, change: RunChange) -> None:
        """A run that is about to start gets a row; inputs and meta come from whoever runs it."""
        header = self._describe(run, flow_name)
        state = self._state(change.state)
        first = Event(time.time(), Kind.STATUS, Status.STARTING, 1, dedupe=OPEN_STATUS_KEY)
        self._client.describe(str(run.id), header)
        self._client.emit(str(run.id), first._replace(state=state))

    def open(self, run: FlowRun, flow_name: str | None) -> None:
        """The opening of a run that no process of ours executes, from what Prefect knows."""
        header = self._describe(run, flow_name)
        fid = str(run.id)
        self._client.describe(fid, header)
        self._client.emit_together(fid, opening(run, header, max(run.run_count, 1)))

    def state(
        self, row: ObservedExecution, change: RunChange, traceback: str | None = None
    ) -> None:
        """A state of a run, with an ``error`` event if it failed without reporting why.

        Arguments:
            traceback: what Prefect's logs have about the failure, if anything.
        """
        status = status_of(change.state)
        attempt = max(change.run_count, row.attempt, 1)
        why = clean(reason(change.state))
        self._put(change.id, row, status, self._state(change.state), why, attempt, traceback)

    def deleted(self, row: ObservedExecution) -> None:
        """The run was deleted from Prefect: nothing more will be reported about it."""
        why = "The flow run was deleted from Prefect before it ended"
        state_id = str(uuid5(UUID(row.fid), "deleted"))
        state = State(state_id, StateType.CRASHED.value, "Deleted", why, time.time())
        self._put(row.fid, row, Status.ERROR, state, why, row.attempt, None)

    def task(
        self, fid: str, change: TaskChange, attempt: int, subflow: tuple[str, str] | None
    ) -> None:
        """A task run started or ended."""
        source: dict[str, Any] = {"task_run": {"id": change.id, "name": clean(change.name)}}
        if subflow is not None:
            source["subflow"] = {"id": subflow[0], "name": subflow[1]}
        state = self._state(change.state)
        text = reason(change.state) if status_of(change.state) is Status.ERROR else state.name
        event = Event(
            state.ts,
            Kind.DEBUG,
            self._text(Kind.DEBUG, clean(f"task {change.name}: {text}")),
            attempt,
            orjson.dumps(source).decode(),
            dedupe=task_key(state.id),
            state=state,
        )
        self._client.emit(fid, event)

    def log(
        self, fid: str, key: str, ts: float, text: str, attempt: int, source: dict[str, Any]
    ) -> None:
        """A line that the run's code logged to Prefect."""
        said = self._text(Kind.DEBUG, clean(text))
        event = Event(ts, Kind.DEBUG, said, attempt, orjson.dumps(source).decode())
        self._client.emit(fid, event._replace(dedupe=log_key(key)))

    def _put(
        self,
        fid: str,
        row: ObservedExecution,
        status: Status,
        state: State,
        why: str,
        attempt: int,
        traceback: str | None,
    ) -> None:
        now = time.time()
        events = []
        if status is Status.ERROR and not row.has_error:
            payload = self._text(Kind.ERROR, clean(traceback or why))
            note = self._text(Kind.ERROR, why)
            key = error_key(state.id)
            events.append(Event(now, Kind.ERROR, payload, attempt, dedupe=key, note=note))
        key = state_key(state.id)
        events.append(Event(now, Kind.STATUS, status, attempt, dedupe=key, state=state))
        self._client.emit_together(fid, tuple(events))

    def _state(self, state: PrefectState) -> State:
        return kept_state(recorded(state), self._client.settings)

    def _text(self, kind: Kind, text: str) -> str:
        """What the redaction leaves, which this process has to be able to import."""
        kept = kept_payload(kind, text, self._client.settings)
        return LEFT_OUT if kept is None else kept

    def _describe(self, run: FlowRun, flow_name: str | None) -> Header:
        header = header_of(None, run, Meta())
        if header["flow_name"] is None:  # a launched run brings its own flow name
            header["flow_name"] = header["summary"] = clean(flow_name) if flow_name else None
        return header
