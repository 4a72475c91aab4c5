"""What is done is not done again: finished tasks and subflows return what they returned before.

The process of a flow that may be suspended keeps what its tasks and subflows return or raise; in
later legs of the attempt the same calls return or raise it again without running. A call that
was cut off, as by a crash or a cancellation, is not finished.
"""

import logging
from contextvars import Token
from typing import Any, NamedTuple

from prefect.client.schemas.objects import FlowRun
from prefect.flows import Flow
from prefect.tasks import Task

from kodosumi_prefect._compat import prefect_calls
from kodosumi_prefect._compat.prefect import FLOW_CONTEXT
from kodosumi_prefect.scope import learn_leg
from kodosumi_prefect.settings import DatabaseUrlError, database_url, get_settings
from kodosumi_prefect.suspension import apart, branches, results
from kodosumi_prefect.suspension.calls import (
    UNORDERED,
    Attempt,
    Here,
    here,
)
from kodosumi_prefect.suspension.hooks import Hooks
from kodosumi_prefect.suspension.keeping import KeptAwayError, NeverKeptError, Row, keeper
from kodosumi_prefect.suspension.leg import leg_of, root_run
from kodosumi_prefect.suspension.numbering import CALL, call_of
from kodosumi_prefect.suspension.records import Record, forget, records
from kodosumi_prefect.suspension.under_way import Work, doing

MOST_LINES = 20  # obstacles that are told
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
    prefect_calls.install(Hooks())
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
    """A task came to this process from that of its flow.

    Raises:
        Pause: its run was suspended meanwhile.
    """
    call = call_of(task)
    if call is None:
        return
    prefect_calls.install(Hooks())
    if call.finished:
        return
    here = apart.arrive(call)
    if (signal := here.begin()) is not None:
        raise signal
    if here.finished:
        vars(task)[CALL] = call._replace(finished=True).packed()


def leave(task: "Task[..., Any]") -> None:
    """It ended here: have what was kept in the database before its flow hears of that."""
    if CALL not in vars(task):
        return
    apart.leave()
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


def tasks_elsewhere() -> tuple[Attempt, set[str], set[str]] | None:
    """The leg of the calling code's run, and the paths of its tasks in other processes, if any:
    of all, and of those that are known to wait."""
    record = _record_here()
    works = [] if record is None else record.under_way.elsewhere()
    if record is None or not works:
        return None
    paths = {work.call.path: work.parked is not None for work in works if work.call is not None}
    return record.attempt, {*paths}, {path for path, waits in paths.items() if waits}


def keep_unfinished() -> None:
    """Keep which calls of the calling code's run are not over, so that the next leg knows them."""
    record = _record_here()
    if record is not None:
        keep_unfinished_of(record)


def keep_unfinished_of(record: Record) -> None:
    """Likewise of what a process knows."""
    for call in record.under_way.calls():
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
    return obstacles_of(record)


def obstacles_of(record: Record) -> list[str]:
    """As ``obstacles``, of what a process knows."""
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


def _line(name: str, why: str, calls: int) -> str:
    return f"{name}: {why}" if calls == 1 else f"{name} ({calls} calls): {why}"
