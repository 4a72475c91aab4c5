"""What is done is not done again: finished tasks and subflows return what they returned before.

The process of a flow that may be suspended keeps what its tasks and subflows return or raise; in
later legs of the attempt the same calls return or raise it again without running. A call that
was cut off, as by a crash or a cancellation, is not finished.
"""

import asyncio
import copy
import logging
from collections.abc import Awaitable, Callable, Iterator
from contextlib import contextmanager
from contextvars import Token
from typing import Any, NamedTuple
from uuid import UUID

from prefect.cache_policies import NO_CACHE
from prefect.client.schemas.objects import FlowRun, State, StateType
from prefect.flows import Flow
from prefect.tasks import Task

from kodosumi_prefect._compat import prefect_calls
from kodosumi_prefect._compat.prefect import FLOW_CONTEXT
from kodosumi_prefect.scope import learn_call, learn_leg
from kodosumi_prefect.settings import DatabaseUrlError, database_url, get_settings
from kodosumi_prefect.suspension import branches, outcomes, results
from kodosumi_prefect.suspension.arguments import compared
from kodosumi_prefect.suspension.calls import (
    UNORDERED,
    Attempt,
    Call,
    Here,
    here,
    short,
    unpacked,
)
from kodosumi_prefect.suspension.code import names_suspending
from kodosumi_prefect.suspension.keeping import KeptAwayError, NeverKeptError, Row, keeper
from kodosumi_prefect.suspension.leg import leg_of, root_run
from kodosumi_prefect.suspension.records import Record, forget, record_of, records
from kodosumi_prefect.suspension.under_way import Work, doing

CALL = "kodosumi_call"  # attribute of the task objects that are called
MOST_LINES = 20  # obstacles that are told
REFUSED = "it was told not to keep its result (NO_CACHE or persist_result=False)"
GENERATOR = "it is a generator, whose items are not kept"
NOT_FORESEEN = (
    "what finished before this question is not kept: no file of the flow's code has the word "
    "suspend, and LOCK_SUSPEND_AFTER is not set"
)
NOT_SEEN = (
    "what it returned is not kept: it ran in a process that keeps no results (use RayTaskRunner or "
    "ThreadPoolTaskRunner) or does not reach the database"
)

logger = logging.getLogger(__name__)


class Kept(NamedTuple):
    """What the end of a flow that may be suspended needs of its beginning."""

    here: Token[Here | None]
    doing: Token[Work | None]
    work: Work


def begin(flow: "Flow[..., Any] | None", flow_run: FlowRun, fid: str) -> Kept | None:
    """Keep from here on what the tasks of a root flow run return, if it may be suspended.

    Returns:
        For ``end``; None for a run without a deployment, which nothing could schedule again, and
        in a process that does not know the database.
    """
    if flow_run.deployment_id is None or not _knows_database():
        return None
    attempt = Attempt(fid, max(flow_run.run_count, 1), leg_of(flow_run))
    kept = keeper(get_settings()).calls(attempt) if attempt.leg else {}
    prefect_calls.install(_Hooks())
    if (context := FLOW_CONTEXT.get(None)) is not None:
        prefect_calls.hook_runner(type(context.task_runner))
    learn_leg(fid, attempt.leg)
    record = Record(attempt, kept)
    record.refuses = flow is not None and flow.persist_result is False
    record.keeps = True if attempt.leg or get_settings().lock_suspend_after > 0 else None
    records[attempt.fid] = record
    branches.follow()
    work = record.under_way.begin("", "the flow", None)
    return Kept(here.set(Here(record.place("", None), flow_run.id)), doing.set(work), work)


def end(kept: Kept | None) -> None:
    """The function of the root flow run has ended, for good or for this leg."""
    if kept is None:
        return
    at = here.get()
    kept.work.left = True
    try:
        here.reset(kept.here)
        doing.reset(kept.doing)
    except ValueError:  # a generator that was closed in another context
        here.set(None)
        doing.set(None)
    if at is not None:
        forget(at.place.attempt.fid)


def settle(kept: Kept | None) -> None:
    """This leg ends: what its tasks returned last is needed in the next one."""
    if kept is None:
        return
    try:
        keeper(get_settings()).settle()
    except KeptAwayError as exc:
        logger.error("what the last finished tasks returned is not kept: %s", exc)


def arrive(task: "Task[..., Any]") -> None:
    """A task came to this process from that of its flow."""
    if CALL in vars(task):
        prefect_calls.install(_Hooks())


def leave(task: "Task[..., Any]") -> None:
    """It ended here: have what was kept in the database before its flow hears of that."""
    if CALL not in vars(task):
        return
    try:
        keeper(get_settings()).settle()
    except KeptAwayError as exc:
        logger.warning("what task %s returned is not kept: %s", task.name, exc)


def foresee() -> None:
    """The calling code's run may be suspended: keep its results from here on, if all are kept."""
    record = _record_here()
    if record is not None and record.keeps is None:
        record.keeps = True


def unforeseen() -> bool:
    """Whether the calling code's run has called what is not kept."""
    record = _record_here()
    return record is not None and record.keeps is False


def tasks_under_way() -> list[str]:
    """What keeps the process of the calling code's run: names of what does not wait itself."""
    record = _record_here()
    return [] if record is None else record.under_way.busy()


def keep_unfinished() -> None:
    """Keep which calls of the calling code's run are not over, so that the next leg knows them."""
    record = _record_here()
    for call in [] if record is None else record.under_way.calls():
        results.store(Row(call, None, None))


def _record_here() -> Record | None:
    run = root_run()
    return None if run is None else records.get(str(run.id))


def obstacles() -> list[str]:
    """Why the calling code's run cannot be suspended without doing again what is done.

    To be asked in the process of the flow, when nothing of it is running any more; blocks until
    all that is kept is in the database.

    Returns:
        A line for each reason, which stays; none if it may be suspended.

    Raises:
        KeptAwayError: that is not known now, since the database is away.
    """
    run, record = root_run(), _record_here()
    if record is None:
        if run is not None and run.deployment_id is None:
            return ["the run has no deployment, so there is nothing to schedule it again by"]
        if not _knows_database():
            return ["its process does not know the database, which keeps what tasks return"]
        return [
            "the flow is not one of @kodosumi_prefect.flow, and its worker is not one of ours, so "
            "what its tasks return is not kept"
        ]
    if unforeseen():
        return [NOT_FORESEEN]
    settings = get_settings()
    try:
        keeper(settings).settle()
        ended = record.outstanding()
        seen = keeper(settings).kept(record.attempt, ended) if ended else set()
        found = keeper(settings).obstacles(record.attempt)
    except NeverKeptError as exc:
        return [f"what finished tasks returned cannot be kept: {exc}"]
    lines = [_line(name, why, calls) for name, why, calls in found]
    lines += [_line(name, UNORDERED, 1) for name in sorted(record.unordered())]
    lines += [
        _line(name, NOT_SEEN, 1) for name in sorted({c.name for c in ended if c.path not in seen})
    ]
    if len(lines) > MOST_LINES:
        lines = [*lines[: MOST_LINES - 1], f"{len(lines) - MOST_LINES + 1} more reasons"]
    return lines


def _knows_database() -> bool:
    settings = get_settings()
    try:
        return settings.enabled and database_url(settings) is not None
    except DatabaseUrlError:  # logged where the settings were read
        return False


class _Hooks:
    """Numbers calls, keeps how they end, and knows how they ended before."""

    def numbered(self, task: "Task[..., Any]", parameters: dict[str, Any]) -> "Task[..., Any]":
        at = _keeping_here()
        if at is None:
            return task
        call = _next(at, "task", task, task.fn, parameters)
        one = copy.copy(task)
        vars(one)[CALL] = call.packed()
        return one

    def submitting(self, task: "Task[..., Any]", pool: Any) -> None:
        call = _call_of(task)
        if call is not None:
            record_of(call.attempt, make=True).under_way.submit(call, pool)

    def submitted(self, task: "Task[..., Any]", future: Any) -> None:
        call = _call_of(task)
        if call is None or (record := record_of(call.attempt)) is None:
            return
        if future is None:
            record.under_way.end(call.path)
        else:
            record.submitted(call, future)

    @contextmanager
    def under_way(self, task: "Task[..., Any]") -> Iterator[None]:
        call = _call_of(task)
        if call is None:
            yield
            return
        with record_of(call.attempt, make=True).under_way.inside(call.path, call.name, call):
            yield

    def is_held(self, task: "Task[..., Any]") -> bool:
        call = _call_of(task)
        return call is not None and record_of(call.attempt, make=True).under_way.is_held

    def hold(self, task: "Task[..., Any]") -> None:
        if (call := _call_of(task)) is not None:
            record_of(call.attempt, make=True).under_way.hold()

    def begins(self, task: "Task[..., Any]", task_run_id: UUID) -> tuple[str, Any] | None:
        call = _call_of(task)
        if call is None:
            return None
        record_of(call.attempt, make=True).runs[task_run_id] = call.path
        learn_leg(call.attempt.fid, call.attempt.leg)
        learn_call(str(task_run_id), short(call.path))
        return _kept(call) if call.finished else None

    @contextmanager
    def inside(self, task: "Task[..., Any]", again: bool) -> Iterator[None]:
        call = _call_of(task)
        context = FLOW_CONTEXT.get(None)
        if call is None or context is None or context.flow_run is None:
            yield
            return
        prefect_calls.hook_runner(type(context.task_runner))
        record = record_of(call.attempt, make=True)
        place = record.place(call.path, (dict) if again else _kept_in(record, call))
        token = here.set(Here(place, context.flow_run.id))
        branches.follow()
        try:
            yield
        finally:
            here.reset(token)

    def ended(self, task: "Task[..., Any]", state: "State[Any]") -> None:
        call = _call_of(task)
        if call is None or state.is_crashed() or state.is_cancelled():
            return
        record = record_of(call.attempt, make=True)
        record.ended(call)
        if _refuses(task, record):
            why = REFUSED
        elif prefect_calls.is_generator(task):
            why = GENERATOR
        else:
            results.keep_state(call, state)
            return
        results.store(Row(call, None, None, why))

    def subflow(
        self, flow: Any, call: Callable[[], Any], *, parameters: dict[str, Any], as_state: bool
    ) -> Any:
        at = _keeping_here()
        if at is None:
            return call()
        number = _next(at, "flow", flow, flow.fn, parameters)
        if prefect_calls.is_generator(flow):
            results.store(Row(number, None, None, GENERATOR))
            return call()
        if flow.isasync:
            return _run_async(at, number, flow, call, as_state)
        if number.finished:
            prefect_calls.pass_over(flow)
            return _returned(_kept(number), as_state)
        with _subflow_place(at, number):
            return _keeping(number, call)

    def deferred(self, task: "Task[..., Any]", call: Callable[[], Any]) -> Any:
        at = _keeping_here()
        if at is None:
            return call()
        number = _next(at, "deferred", task, task.fn, {})
        if number.finished:
            return prefect_calls.distributed_future(_kept(number)[1])
        future = call()
        content = outcomes.dumped(str(future.task_run_id))
        results.store(Row(number, outcomes.DEFERRED, content))
        return future


async def _run_async(
    at: Here, number: Call, flow: Any, call: Callable[[], Awaitable[Any]], as_state: bool
) -> Any:
    if number.finished:
        prefect_calls.pass_over(flow)
        return _returned(await asyncio.to_thread(_kept, number), as_state)
    with _subflow_place(at, number):
        try:
            result = await call()
        except Exception as exc:
            results.keep_error(number, exc)
            raise
        results.keep_result(number, result)
        return result


def _keeping(number: Call, call: Callable[[], Any]) -> Any:
    try:
        result = call()
    except Exception as exc:
        results.keep_error(number, exc)
        raise
    results.keep_result(number, result)
    return result


@contextmanager
def _subflow_place(at: Here, call: Call) -> Iterator[None]:
    record = record_of(call.attempt, make=True)
    token = here.set(Here(record.place(call.path, _kept_in(record, call))))
    branches.follow()
    try:
        with record.under_way.inside(call.path, call.name, call):
            yield
    finally:
        here.reset(token)


def place_here() -> str | None:
    """The place that the calling code is in, by which each leg knows it; None if none does."""
    at = _current()
    if at is None:
        return None
    return f"{at.place.path}|{at.branch}" if at.branch else at.place.path


def _current() -> Here | None:
    """Where the calling code is, if calls are kept there."""
    at = here.get()
    if at is None:
        return None
    context = FLOW_CONTEXT.get(None)
    if context is None or context.flow_run is None:
        return None
    if at.flow_run is None:
        at.flow_run = context.flow_run.id
    return at if at.flow_run == context.flow_run.id else None


def _keeping_here() -> Here | None:
    """Where the calling code is, if what it calls is to be kept."""
    at = _current()
    if at is None:
        return None
    record = record_of(at.place.attempt, make=True)
    if record.keeps is None:
        record.keeps = names_suspending()
    return at if record.keeps else None


def _next(
    at: Here, sort: str, called: Any, function: Callable[..., Any], parameters: dict[str, Any]
) -> Call:
    record = record_of(at.place.attempt, make=True)
    arguments, derived = compared(parameters, record.runs.get)
    key = f"{sort}:{getattr(function, '__qualname__', type(function).__name__)}:{called.name}"
    call, differing = at.place.number(at.branch, key, called.name, arguments, derived)
    if differing:
        follows = "is done and not done again, and returns what it returned then"
        if not call.finished:
            follows = "begins anew, with the questions and the finished tasks that it had then"
        logger.warning(
            "%s was called with another %s before this run was suspended; it %s",
            called.name,
            ", ".join(differing),
            follows,
        )
    return call


def _refuses(task: "Task[..., Any]", record: Record) -> bool:
    """Whether the author chose that what a task returns is not kept."""
    if task.persist_result is False or isinstance(task.cache_policy, type(NO_CACHE)):
        return True
    return record.refuses and task.persist_result is None


def _call_of(task: Any) -> Call | None:
    packed = vars(task).get(CALL)
    return None if packed is None else unpacked(packed)


def _kept_in(record: Record, call: Call) -> Callable[[], Any]:
    """What earlier legs finished of the calls made in this one, read when the first is made."""
    if not call.attempt.leg:
        return dict
    if record.whole:
        return lambda: record.kept
    return lambda: keeper(get_settings()).calls(call.attempt, call.path)


def _kept(call: Call) -> tuple[str, Any]:
    try:
        outcome, content = keeper(get_settings()).result(call)
        value = outcomes.loaded(content)
    except Exception as exc:  # of the author's classes, too: it must not run again all the same
        error = KeptAwayError(
            f"{call.name} finished before this run was suspended, and what it returned cannot be "
            f"read: {' '.join(str(exc).split())[:300]}"
        )
        error.__cause__ = exc
        return outcomes.ERROR, error
    if outcome == outcomes.STATE:
        type_, name, message, data = value
        return outcome, State(type=StateType(type_), name=name, message=message, data=data)
    return outcome, value


def _returned(kept: tuple[str, Any], as_state: bool) -> Any:
    """What a finished subflow returns, or raises."""
    outcome, value = kept
    if outcome == outcomes.ERROR:
        if as_state:
            return prefect_calls.failed_state(value)
        raise value
    if outcome == outcomes.STATE:
        return value
    return prefect_calls.completed_state(value) if as_state else value


def _line(name: str, why: str, calls: int) -> str:
    return f"{name}: {why}" if calls == 1 else f"{name} ({calls} calls): {why}"
