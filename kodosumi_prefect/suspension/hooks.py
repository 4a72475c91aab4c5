"""How calls of tasks and subflows are kept, and return what they returned in an earlier leg."""

import asyncio
import copy
from collections.abc import Awaitable, Callable, Iterator
from contextlib import contextmanager
from typing import Any
from uuid import UUID

from prefect.cache_policies import NO_CACHE
from prefect.client.schemas.objects import State, StateType
from prefect.tasks import Task

from kodosumi_prefect._compat import prefect_calls
from kodosumi_prefect._compat.prefect import FLOW_CONTEXT
from kodosumi_prefect.scope import learn_call, learn_leg
from kodosumi_prefect.settings import get_settings
from kodosumi_prefect.suspension import branches, outcomes, results
from kodosumi_prefect.suspension.calls import Call, Here, here, short
from kodosumi_prefect.suspension.keeping import KeptAwayError, Row, keeper
from kodosumi_prefect.suspension.numbering import CALL, call_of, keeping_here, kept_in, next_call
from kodosumi_prefect.suspension.records import Record, record_of

REFUSED = "it was told not to keep its result (NO_CACHE or persist_result=False)"
GENERATOR = "it is a generator, whose items are not kept"


class Hooks:
    """Numbers calls, keeps how they end, and knows how they ended before."""

    def numbered(self, task: "Task[..., Any]", parameters: dict[str, Any]) -> "Task[..., Any]":
        at = keeping_here()
        if at is None:
            return task
        call = next_call(at, "task", task, task.fn, parameters)
        one = copy.copy(task)
        vars(one)[CALL] = call.packed()
        return one

    def submitting(self, task: "Task[..., Any]", pool: Any) -> None:
        call = call_of(task)
        if call is not None:
            record_of(call.attempt, make=True).under_way.submit(call, pool)

    def submitted(self, task: "Task[..., Any]", future: Any) -> None:
        call = call_of(task)
        if call is None or (record := record_of(call.attempt)) is None:
            return
        if future is None:
            record.under_way.end(call.path)
        else:
            record.submitted(call, future)
            if getattr(future, "elsewhere", None) is not None and not record.watched:
                from kodosumi_prefect.suspension.watching import watch

                watch(record)

    @contextmanager
    def under_way(self, task: "Task[..., Any]") -> Iterator[None]:
        call = call_of(task)
        if call is None:
            yield
            return
        with record_of(call.attempt, make=True).under_way.inside(call.path, call.name, call):
            yield

    def is_held(self, task: "Task[..., Any]") -> bool:
        call = call_of(task)
        return call is not None and record_of(call.attempt, make=True).under_way.is_held

    def hold(self, task: "Task[..., Any]") -> None:
        if (call := call_of(task)) is not None:
            record_of(call.attempt, make=True).under_way.hold()

    def begins(self, task: "Task[..., Any]", task_run_id: UUID) -> tuple[str, Any] | None:
        call = call_of(task)
        if call is None:
            return None
        record_of(call.attempt, make=True).runs[task_run_id] = call.path
        learn_leg(call.attempt.fid, call.attempt.leg)
        learn_call(str(task_run_id), short(call.path))
        return _kept(call) if call.finished else None

    @contextmanager
    def inside(self, task: "Task[..., Any]", again: bool) -> Iterator[None]:
        call = call_of(task)
        context = FLOW_CONTEXT.get(None)
        if call is None or context is None or context.flow_run is None:
            yield
            return
        prefect_calls.hook_runner(type(context.task_runner))
        record = record_of(call.attempt, make=True)
        place = record.place(call.path, (dict) if again else kept_in(record, call))
        token = here.set(Here(place, context.flow_run.id))
        branches.follow()
        try:
            yield
        except Exception as exc:
            # Code that waited in threads of its own learns of the leg's end by what they lack.
            if (signal := record.under_way.signal) is not None:
                raise signal from exc
            raise
        finally:
            here.reset(token)

    def ended(self, task: "Task[..., Any]", state: "State[Any]") -> None:
        call = call_of(task)
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
        at = keeping_here()
        if at is None:
            return call()
        number = next_call(at, "flow", flow, flow.fn, parameters)
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
        at = keeping_here()
        if at is None:
            return call()
        number = next_call(at, "deferred", task, task.fn, {})
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
    token = here.set(Here(record.place(call.path, kept_in(record, call))))
    branches.follow()
    try:
        with record.under_way.inside(call.path, call.name, call):
            yield
    finally:
        here.reset(token)


def _refuses(task: "Task[..., Any]", record: Record) -> bool:
    """Whether the author chose that what a task returns is not kept."""
    if task.persist_result is False or isinstance(task.cache_policy, type(NO_CACHE)):
        return True
    return record.refuses and task.persist_result is None


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
