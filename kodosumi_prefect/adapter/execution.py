"""Executions that this process runs: how they open and end, and which events are theirs."""

import logging
import os
import platform
import time
import traceback
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, NamedTuple

from prefect.client.schemas.objects import FlowRun
from prefect.client.schemas.objects import State as PrefectState
from prefect.context import FlowRunContext
from prefect.flows import Flow

from kodosumi_prefect._compat.prefect import entrypoint_of, value_in
from kodosumi_prefect.adapter import capture, stored_inputs
from kodosumi_prefect.adapter.at_work import scopes_at_work
from kodosumi_prefect.adapter.launched import launched
from kodosumi_prefect.adapter.literal import opened
from kodosumi_prefect.error_line import error_line
from kodosumi_prefect.events import TERMINAL, Event, Kind, Status, clean, plain, serialize
from kodosumi_prefect.owner import owner_of, schedule_of
from kodosumi_prefect.scope import Scope, event_source, learn_scope
from kodosumi_prefect.settings import VERSION, get_settings, panel_url
from kodosumi_prefect.spans.contents import LEFT_OUT, kept_payload, kept_state, without_quotes
from kodosumi_prefect.spooler.batch import Header
from kodosumi_prefect.spooler.client import SpoolClient, get_client
from kodosumi_prefect.status import reason, recorded, status_of
from kodosumi_prefect.vocabulary import (
    FLOW_ATTRIBUTE,
    OPEN_INPUTS_KEY,
    OPEN_META_KEY,
    OPEN_STATUS_KEY,
    state_key,
)

TERMINAL_FLUSH = 5.0  # seconds a hook waits for the terminal status to be stored

logger = logging.getLogger(__name__)


class Meta(NamedTuple):
    """The arguments of ``@kodosumi_prefect.flow`` for a flow."""

    summary: str | None = None
    description: str | None = None
    tags: tuple[str, ...] = ()
    author: str | None = None
    organization: str | None = None
    version: str | None = None
    deprecated: bool = False
    entry_point: str | None = None


@dataclass
class Live:
    """An execution whose root flow run is executed by this process."""

    scope: Scope
    client: SpoolClient
    flow_run: FlowRun
    reported: set[str] = field(default_factory=set)
    error_told: bool = False
    final_told: bool = False

    def put(self, kind: Kind, payload: str, *, note: str | None = None) -> None:
        """Record an event of the root flow run."""
        settings = self.client.settings
        kept = kept_payload(kind, payload, settings)
        if kept is None:
            kept = serialize(LEFT_OUT) if kind == Kind.FINAL else LEFT_OUT
        if note is not None and kind == Kind.ERROR:
            note = kept_payload(kind, note, settings) or LEFT_OUT
        self.client.emit(
            self.scope.fid,
            Event(
                time.time(),
                kind,
                kept,
                self.scope.attempt,
                event_source(self.scope),
                note=note,
            ),
        )


_live: dict[str, Live] = {}
# Called before the end of a run is recorded, for what is still to be recorded before it.
endings: list[Callable[[], None]] = []


def live_scopes() -> list[Scope]:
    """The executions that this process runs now."""
    return [live.scope for live in list(_live.values())]


def open_execution(
    flow: "Flow[..., Any] | None",
    flow_run: FlowRun,
    attempt: int,
    parameters: dict[str, Any] | None = None,
    *,
    running: bool = True,
) -> Live:
    """Begin to record a root flow run: row, ``starting``, ``inputs``, ``meta``.

    Idempotent: every process that reports the run may call it, each event is stored once.

    Arguments:
        flow: the flow, if it is at hand; without it inputs and names come from ``flow_run``.
        attempt: Prefect's run count of this attempt, from 1.
        parameters: the run's parameters as the flow gets them.
        running: this process executes the run: it sends heartbeats and captures output until
            ``close``. False for one that only reports a state.
    """
    fid = str(flow_run.id)
    live = _live.get(fid)
    if live is not None:
        if attempt != live.scope.attempt:
            live.scope = live.scope._replace(attempt=attempt)
            live.error_told = live.final_told = False
        learn_scope(flow_run.id, attempt, live.scope)
        return live
    settings = get_settings()
    scope = Scope(fid, attempt, flow.name if flow else None)
    live = Live(scope, get_client(settings), flow_run)
    meta: Meta = getattr(getattr(flow, "fn", None), FLOW_ATTRIBUTE, None) or Meta()
    header = header_of(flow, flow_run, meta)
    if running:
        header["process"] = {
            "host": platform.node(),
            "pid": os.getpid(),
            "started": _process_started(),
        }
        live.client.follow(fid)
    live.client.describe(fid, header)
    live.client.emit_together(fid, opening(flow_run, header, attempt, parameters))
    if not running:
        return live
    _live[fid] = live
    learn_scope(flow_run.id, attempt, scope)
    if settings.capture:
        capture.hold()
    return live


def opening(
    flow_run: FlowRun,
    header: Header,
    attempt: int,
    parameters: dict[str, Any] | None = None,
    visible_inputs: Any = None,
) -> tuple[Event, ...]:
    """The events that every stream begins with; each is stored once, whoever emits it.

    Arguments:
        parameters: the run's parameters as the flow gets them, if they are at hand.
        visible_inputs: the inputs that people see, if known already.
    """
    now = time.time()
    launch = launched(flow_run.parameters)
    values = parameters or opened(flow_run.parameters)
    inputs: Any = values.get("inputs", values) if values.keys() <= {"inputs"} else values
    url, username = panel_url(get_settings()), header.get("owner")
    if launch is not None:
        inputs, url = launch.visible, launch.launch.panel_url or url
        username = launch.launch.username or username
        if visible_inputs is None and launch.launch.large and launch.launch.payload is not None:
            stored = stored_inputs.visible(get_settings(), launch.launch.payload)
            inputs = inputs if stored is None else stored
    if (owner := owner_of(flow_run)) is not None:
        username = owner.name
    if visible_inputs is not None:
        inputs = visible_inputs
    name = launch.launch.inputs_type if launch is not None else None
    meta = {
        "fid": str(flow_run.id),
        "username": username,
        "app_url": header.get("app_url"),
        "panel_url": url,
        "entry_point": header.get("entry_point"),
        "tags": header.get("tags") or [],
        "summary": header.get("summary"),
        "description": header.get("description"),
        "deprecated": bool(header.get("deprecated")),
        "author": header.get("author"),
        "organization": header.get("organization"),
        "version": header.get("version"),
        "kodosumi": VERSION,
    }
    return (
        Event(now, Kind.STATUS, Status.STARTING, attempt, dedupe=OPEN_STATUS_KEY),
        Event(now, Kind.INPUTS, serialize(inputs, name), attempt, dedupe=OPEN_INPUTS_KEY),
        Event(now, Kind.META, serialize(meta), attempt, dedupe=OPEN_META_KEY),
    )


def header_of(flow: "Flow[..., Any] | None", flow_run: FlowRun, meta: Meta) -> Header:
    """What a flow and its run know about an execution; for a launched one, its endpoint."""
    name = flow.name if flow is not None else None
    description = meta.description or (flow.description if flow is not None else None)
    version = meta.version or getattr(flow, "version", None)
    entry_point = meta.entry_point or entrypoint_of(flow)
    app_url = None
    if (launch_parameters := launched(flow_run.parameters)) is not None:
        launch = launch_parameters.launch
        name, description, version = launch.flow, launch.description, launch.version
        entry_point, app_url = launch_parameters.entry_point, launch.app_url
        meta = Meta(
            launch.summary,
            None,
            tuple(launch.tags),
            launch.author,
            launch.organization,
            deprecated=launch.deprecated,
        )
    owner = owner_of(flow_run)
    tags = dict.fromkeys([*meta.tags, *(flow_run.tags or [])])
    return Header(
        owner=owner.user if owner is not None else None,
        schedule=schedule_of(flow_run),
        flow_name=_text(name),
        deployment_id=str(flow_run.deployment_id) if flow_run.deployment_id else None,
        entry_point=_text(entry_point),
        app_url=_text(app_url),
        summary=_text(meta.summary or name),
        description=_text(description),
        tags=[clean(tag) for tag in tags],
        author=_text(meta.author),
        organization=_text(meta.organization),
        version=_text(version),
        deprecated=meta.deprecated,
        run_name=_text(flow_run.name),
    )


def report_state(live: Live, state: PrefectState, attempt: int) -> None:
    """Record a state of a root flow run; each is stored once, whoever else reports it."""
    if str(state.id) in live.reported:
        return
    live.reported.add(str(state.id))
    status = status_of(state)
    if status is Status.ERROR and not live.error_told:
        tell_error(live, state_error(state), note=reason(state))
    over = status in TERMINAL
    if over:
        capture.finish(live.scope.fid)
    told = recorded(state)
    if (error := _exception_of(state)) is not None:
        message = without_quotes(told.message, error, live.client.settings)
        told = told._replace(message=message)
    event = Event(
        time.time(),
        Kind.STATUS,
        status,
        attempt,
        event_source(live.scope),
        dedupe=state_key(state.id),
        state=kept_state(told, live.client.settings),
    )
    runs_here = live.scope.fid in _live
    live.client.emit(live.scope.fid, event, alive=not over if runs_here else None)
    if over and runs_here:
        close(live)
    if over or not runs_here:
        live.client.flush(TERMINAL_FLUSH)


def close(live: Live) -> None:
    """This process is done with the execution: no more heartbeats, no more capture."""
    fid = live.scope.fid
    if _live.pop(fid, None) is None:
        return
    live.client.unfollow(fid)
    if get_settings().capture:
        capture.release(fid)


def abandon(fid: str) -> None:
    """Let go of an execution whose end could not be recorded; without heartbeats others see it."""
    if (live := _live.get(fid)) is not None:
        close(live)


def settle() -> None:
    """Have everything recorded that happened so far."""
    for ending in endings:
        ending()


def tell_error(
    live: Live, error: "BaseException | str", note: str | None = None, line: str | None = None
) -> None:
    """Record the ``error`` event of this attempt: the traceback, and one line for lists.

    Arguments:
        note: the line of an error that is a text.
        line: the line of an exception, if its own message is not enough.
    """
    settle()
    live.error_told = True
    if isinstance(error, str):
        live.put(Kind.ERROR, plain(error), note=note)
        return
    text, settings = traceback_of(error), live.client.settings
    note = clean(line or error_line(error))
    live.put(
        Kind.ERROR,
        without_quotes(text, error, settings),
        note=without_quotes(note, error, settings),
    )


def traceback_of(error: BaseException) -> str:
    """The traceback as text, without our own frames around the author's function."""
    tb = error.__traceback__
    while tb is not None and tb.tb_next is not None and _is_ours(tb.tb_frame.f_code.co_filename):
        tb = tb.tb_next
    try:
        return clean("".join(traceback.format_exception(type(error), error, tb)).rstrip())
    except Exception as exc:  # an author's exception whose __str__ raises
        return f"{type(error).__name__} whose text raised {type(exc).__name__}"


def state_error(state: PrefectState) -> "BaseException | str":
    """The exception a failed state carries in memory, else its message."""
    error = _exception_of(state)
    return reason(state) if error is None else error


def _exception_of(state: PrefectState) -> BaseException | None:
    data = state.data
    error = data if isinstance(data, BaseException) else getattr(data, "result", None)
    return error if isinstance(error, BaseException) else None


def tell_final(live: Live, value: Any) -> None:
    """Record the result of this attempt, with the output that came before it."""
    settle()
    capture.finish(live.scope.fid)
    live.final_told = True
    live.put(Kind.FINAL, serialize(value))


def tell_final_of(live: Live, state: PrefectState) -> None:
    """Record the result that a completed state holds in memory, if the flow did not record it."""
    if live.final_told:
        return
    tell_final(live, value_in(state.data))


def only_live() -> Scope | None:
    """The execution that output of a thread without a context belongs to, if there is just one.

    A subflow without events so far is like such a thread; code of another root belongs elsewhere.
    """
    context = FlowRunContext.get()
    flow_run = context.flow_run if context is not None else None
    if flow_run is not None and flow_run.parent_task_run_id is None:
        return None
    scopes = live_scopes() + scopes_at_work()
    if not scopes or len({scope.fid for scope in scopes}) > 1:
        return None
    return scopes[0] if len(scopes) == 1 else scopes[0]._replace(task_run=None)


def _text(value: Any) -> str | None:
    return None if value is None else plain(value)


def _is_ours(filename: str) -> bool:
    return filename.startswith(_PACKAGE)


def _process_started() -> float | None:
    """Clock ticks since boot when this process started, to tell a reused pid; None if unknown."""
    try:
        return float(Path("/proc/self/stat").read_text().rpartition(")")[2].split()[19])
    except OSError:
        return None


_PACKAGE = str(Path(__file__).parents[1]) + os.sep
