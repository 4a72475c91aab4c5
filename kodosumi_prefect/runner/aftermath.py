"""What is left to do for a run whose process is gone: its hooks and its state, in a new process."""

import asyncio
import functools
import inspect
import logging
import signal
import time
from collections.abc import Callable, Sequence
from typing import Any, TypeVar
from uuid import UUID

import httpx
import psycopg
from prefect.client.orchestration import get_client
from prefect.client.schemas.objects import FlowRun, State
from prefect.exceptions import ObjectNotFound, PrefectException
from prefect.flow_engine import load_flow
from prefect.flows import Flow
from prefect.logging.loggers import flow_run_logger
from prefect.states import Cancelled, Crashed

from kodosumi_prefect._compat.prefect import exit_explanation
from kodosumi_prefect.adapter.last_words import LastWords, Said
from kodosumi_prefect.backoff import Backoff
from kodosumi_prefect.error_line import error_line
from kodosumi_prefect.process.order import After, Order, Outcome
from kodosumi_prefect.runner.execute import take_place
from kodosumi_prefect.runner.ray_job import RayJob
from kodosumi_prefect.runner.reporting import flush, report
from kodosumi_prefect.runner.run_output import RunOutput
from kodosumi_prefect.runner.supervised import Supervised
from kodosumi_prefect.runner.unrecorded import own_spooler, record_rest
from kodosumi_prefect.settings import DatabaseUrlError
from kodosumi_prefect.spooler.append import ProtocolError
from kodosumi_prefect.suspension.awaiting import waits_in_process
from kodosumi_prefect.suspension.leg import leg_of

PREFECT_ANSWERS = 120.0  # seconds that Prefect has to come back
RETRY_FIRST = 0.5  # seconds
RETRY_MOST = 5.0  # seconds
PREFECT_AWAY = (httpx.HTTPError, PrefectException, OSError)

logger = logging.getLogger(__name__)

R = TypeVar("R")


def see_to(order: Order, supervised: Supervised) -> Outcome:
    """Record a run's last words, run its hooks and set its state. Never raises."""
    assert order.after is not None
    why = how_it_ended(order.after)
    last_words = LastWords(supervised.memory).take()
    try:
        job, output = take_place(order, supervised)
        _see_to(order, why, order.after, job, output, last_words)
    except Exception as exc:
        logger.error("flow run %s, whose process is gone: %s", order.flow_run_id, error_line(exc))
        return Outcome(order.after.status or 1, why)
    finally:
        flush()
    return Outcome(0)


def how_it_ended(after: After) -> str:
    """The end of a run's process in one line, as Prefect's process worker words it."""
    if after.why is not None:
        return after.why
    if after.status is None:
        return "The run's process is gone for an unknown reason."
    code = f"{after.status}"
    if after.status < 0 and -after.status in {number.value for number in signal.Signals}:
        code += f" ({signal.Signals(-after.status).name})"
    return f"Process exited with status code: {code}. {exit_explanation(after.status)}"


def _see_to(
    order: Order, why: str, after: After, job: RayJob, output: RunOutput, last_words: Sequence[Said]
) -> None:
    fid = UUID(order.flow_run_id)
    flow_run = _persistently(lambda: _read(fid))
    state = flow_run.state if flow_run is not None else None
    if flow_run is None or state is None:
        return  # deleted
    output.attempt = max(flow_run.run_count, 1)
    record_rest(str(fid), last_words, after.written, output)
    if after.over or (order.leg is not None and leg_of(flow_run) > order.leg):
        return  # it reached its end, or that of its leg
    if state.is_cancelling():
        if _claim(flow_run):
            _run_hooks("on_cancellation", flow_run, state, job)
        message = f"Flow run was cancelled; {_clause(why)}."
        _persistently(lambda: report(flow_run, Cancelled(message=message), message))
    elif state.is_running() or state.is_pending() or waits_in_process(state):
        mine = _claim(flow_run)
        crashed = _persistently(lambda: report(flow_run, Crashed(message=why), why, force=False))
        if mine and crashed is not None and crashed.is_crashed():
            _run_hooks("on_crashed", flow_run, crashed, job)


def _clause(sentence: str) -> str:
    return (sentence[:1].lower() + sentence[1:]).rstrip(".")


def _read(fid: UUID) -> FlowRun | None:
    with get_client(sync_client=True) as client:
        try:
            return client.read_flow_run(fid)
        except ObjectNotFound:
            return None


def _persistently(call: Callable[[], R]) -> R:
    """Ask Prefect until it answers, for a while."""
    until, backoff = time.monotonic() + PREFECT_ANSWERS, Backoff(RETRY_FIRST, RETRY_MOST)
    while True:
        try:
            return call()
        except PREFECT_AWAY as exc:
            if time.monotonic() > until:
                raise
            logger.debug("Prefect does not answer now: %s", exc)
        time.sleep(backoff.next())


def _claim(flow_run: FlowRun) -> bool:
    """Whether the hooks of this attempt are this process's to run; nobody else gets them then."""
    parameters = {"fid": flow_run.id, "attempt": max(flow_run.run_count, 1)}
    try:
        with own_spooler() as spooler:
            return bool(spooler.query("claim_hooks", parameters))
    except (psycopg.Error, DatabaseUrlError, ProtocolError) as exc:
        logger.warning(
            "hooks of flow run %s are run without a claim in Postgres: %s",
            flow_run.id,
            error_line(exc),
        )
        return True


def _run_hooks(kind: str, flow_run: FlowRun, state: State[Any], job: RayJob) -> None:
    run_logger = flow_run_logger(flow_run)
    try:
        flow: Flow[..., Any] = load_flow(flow_run)
        job.loaded(flow.fn)
    except Exception:
        run_logger.warning("The flow could not be loaded for its %s hooks", kind, exc_info=True)
        return
    hooks: Sequence[Callable[..., Any]] = getattr(flow, f"{kind}_hooks") or []
    for hook in hooks:
        name = _name(hook)
        run_logger.info("Running hook %r in response to entering state %r", name, state.name)
        try:
            result = hook(flow=flow, flow_run=flow_run, state=state)
            if inspect.isawaitable(result):
                asyncio.run(_awaited(result))
        except Exception:
            run_logger.error("An error was encountered while running hook %r", name, exc_info=True)
        else:
            run_logger.info("Hook %r finished running successfully", name)


async def _awaited(result: Any) -> None:
    await result


def _name(hook: Callable[..., Any]) -> str:
    while isinstance(hook, functools.partial):
        hook = hook.func
    return getattr(hook, "__name__", type(hook).__name__)
