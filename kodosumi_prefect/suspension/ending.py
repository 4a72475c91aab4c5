"""Ending a leg: Prefect's run is suspended, and the process that executes it ends."""

import json
import logging
import time
from collections.abc import Collection, Sequence
from typing import Any, NamedTuple
from uuid import UUID

import httpx
import psycopg
from prefect.client.orchestration import SyncPrefectClient, get_client
from prefect.client.schemas.objects import FlowRun, State
from prefect.client.schemas.responses import SetStateStatus
from prefect.exceptions import Pause, PrefectException
from prefect.logging import get_run_logger

from kodosumi_prefect._compat.prefect import request_suspension
from kodosumi_prefect.backoff import Backoff
from kodosumi_prefect.settings import database_url
from kodosumi_prefect.spooler.append import ProtocolError, Spooler
from kodosumi_prefect.spooler.client import SpoolClient
from kodosumi_prefect.suspension import apart, awaiting
from kodosumi_prefect.suspension.calls import Attempt
from kodosumi_prefect.suspension.code import code_now
from kodosumi_prefect.suspension.keeping import KeptAwayError
from kodosumi_prefect.suspension.leg import leg_of, root_run
from kodosumi_prefect.suspension.records import record_of
from kodosumi_prefect.suspension.reuse import (
    NOT_FORESEEN,
    keep_unfinished,
    keep_unfinished_of,
    obstacles,
    obstacles_of,
    tasks_elsewhere,
    tasks_under_way,
)

CLAIM = 30.0  # seconds in which whoever resumes a run does so alone
NO_DEPLOYMENT = "it is no run of a deployment"
RETRY_FIRST = 0.5  # seconds
RETRY_MOST = 5.0  # seconds

PREFECT_AWAY = (httpx.HTTPError, PrefectException, OSError)

logger = logging.getLogger(__name__)


class NotNowError(Exception):
    """The leg cannot end now; it may a little later."""


class MarkedError(NotNowError):
    """Likewise, and Postgres may hold the leg for ended."""


class UnderWayError(NotNowError):
    """The leg cannot end while tasks, or the flow's own code, are at work."""


class NeverError(Exception):
    """The leg cannot end at a lock; the run waits in its process."""


class Ending(NamedTuple):
    """The end of a leg.

    Attributes:
        signal: what the flow's code has to raise.
    """

    signal: BaseException


def end_leg(fid: str, lids: Sequence[str], client: SpoolClient) -> Ending | None:
    """Suspend the calling run at its locks.

    First Postgres knows of it, so that whoever answers resumes the run, and then Prefect, whose
    word counts: a run that it does not hold for suspended goes on in this process.

    Returns:
        None if one of the locks was settled meanwhile.

    Raises:
        UnderWayError: it may be tried again when something changes.
        MarkedError: it may be tried again; Postgres has to forget that the leg may have ended.
        NotNowError: it may be tried again.
        NeverError: it makes no sense to.
    """
    settings = client.settings
    run = root_run()
    if run is None or run.deployment_id is None:
        raise NeverError(NO_DEPLOYMENT)
    if run.work_pool_name is None:
        raise NeverError("its deployment has no work pool, so that no worker would resume it")
    url = database_url(settings)
    if url is None:
        raise NeverError("its process knows no database")
    _need_none(tasks_under_way())
    keep_unfinished()
    # Not before: what a task returns as it ends is kept by this, or would be lost with the process.
    try:
        reasons = obstacles()
    except KeptAwayError as exc:
        raise NotNowError(f"what finished tasks returned cannot be kept now: {exc}") from exc
    if reasons:
        raise NeverError("; ".join(reasons))
    if not client.flush(settings.flush_timeout):
        raise NotNowError("its events are not stored yet")
    spooler = Spooler(url, settings.database_schema)
    try:
        spooler.query("keep_code", {"fid": fid, "code": json.dumps(code_now())})
    except (psycopg.Error, ProtocolError) as exc:
        spooler.close()
        raise NotNowError(f"Postgres does not answer: {_line(exc)}") from exc
    elsewhere, state = tasks_elsewhere(), None
    try:
        if elsewhere is not None:
            _hold(*elsewhere)
        # Who waits for tasks is seen to do so a moment longer than it does.
        _need_none(tasks_under_way())
        with get_client(sync_client=True) as prefect:
            state = _suspend(prefect, spooler, run.id, lids)
    except PREFECT_AWAY as exc:
        raise NotNowError(f"Prefect does not answer: {_line(exc)}") from exc
    except (psycopg.Error, ProtocolError) as exc:
        raise MarkedError(f"Postgres does not answer: {_line(exc)}") from exc
    finally:
        spooler.close()
        if elsewhere is not None and state is None:
            _release(elsewhere[0])
    if state is None:
        return None
    if elsewhere is not None:
        apart.end(elsewhere[0])
    request_suspension(state)
    return Ending(Pause(state=state))


def _hold(attempt: Attempt, paths: set[str], waiting: set[str]) -> None:
    """Have tasks in other processes neither begin nor go on."""
    try:
        names = apart.hold(attempt, paths, waiting)
    except KeptAwayError as exc:
        raise NotNowError(str(exc)) from exc
    _need_none(names)


def _release(attempt: Attempt) -> None:
    try:
        apart.release(attempt)
    except KeptAwayError as exc:
        raise MarkedError(str(exc)) from exc


def leave_kept(attempt: Attempt, client: SpoolClient) -> None:
    """Have in Postgres what another leg needs of the task that the calling process executes.

    Raises:
        UnderWayError: some of it is at work.
        NotNowError: it cannot be had there now.
        NeverError: it never can.
    """
    record = record_of(attempt, make=True)
    _need_none(record.under_way.busy())
    keep_unfinished_of(record)
    try:
        if reasons := obstacles_of(record):
            raise NeverError("; ".join(reasons))
    except KeptAwayError as exc:
        raise NotNowError(f"what finished tasks returned cannot be kept now: {exc}") from exc
    if not client.flush(client.settings.flush_timeout):
        raise NotNowError("its events are not stored yet")
    _need_none(record.under_way.busy())  # as in `end_leg`


def _need_none(names: Collection[str]) -> None:
    """Raise if any is under way."""
    if names:
        raise UnderWayError(f"under way: {', '.join(sorted(names))[:200]}")


def why_nothing_is_kept() -> str:
    """Why a task in another process than its flow's cannot end with a leg, and begin in another."""
    run = root_run()
    if run is None or run.deployment_id is None:
        return NO_DEPLOYMENT
    return NOT_FORESEEN


def stays(why: NeverError) -> None:
    """Tell once that a run waits in its process."""
    get_run_logger().info("The run waits in its process: %s.", why)


def be_running(fid: UUID) -> None:
    """Have Prefect show that a run no longer waits, where what follows depends on it.

    It retries only runs that are Running.
    """
    try:
        with get_client(sync_client=True) as client:
            run = client.read_flow_run(fid)
            if awaiting.awaits_in_process(run.state):
                go_on(client, run)
    except PREFECT_AWAY as exc:
        logger.warning("whether flow run %s is Running is not known: %s", fid, _line(exc))


def go_on(client: SyncPrefectClient, run: FlowRun) -> None:
    """Have a run that waits in its process be Running, of the same attempt, in Prefect."""
    client.update_flow_run(run.id, empirical_policy=awaiting.uncounted(run))
    client.resume_flow_run(run.id)


def _suspend(
    client: SyncPrefectClient, spooler: Spooler, fid: UUID, lids: Sequence[str]
) -> State[Any] | None:
    run = client.read_flow_run(fid)
    paused = awaiting.awaits_in_process(run.state)
    if not paused and (run.state is None or not run.state.is_running()):
        raise NotNowError(f"Prefect says {run.state.name if run.state else 'nothing'}")
    leg = leg_of(run)
    mark: dict[str, Any] = {"fid": str(fid), "leg": leg}
    rows = spooler.query("suspend", mark | {"lids": list(lids)})
    if not rows:
        raise NotNowError("its questions are not stored")
    settled, heading, expires = rows[0]
    if settled:
        spooler.query("not_suspended", mark)
        return None
    try:
        if paused:
            go_on(client, run)
        state = _set(client, run, awaiting.suspended(run, heading, expires))
    except PREFECT_AWAY:
        spooler.query("not_suspended", mark)
        raise
    if state is None:
        spooler.query("not_suspended", mark)
        raise NotNowError("Prefect refuses to suspend it")
    try:
        _resume_if_answered(client, spooler, mark)
    except (psycopg.Error, ProtocolError) as exc:
        # It is suspended all the same; the observer has it go on once Postgres is back.
        logger.warning("whether execution %s was answered is not known: %s", fid, _line(exc))
    return state


def _resume_if_answered(client: SyncPrefectClient, spooler: Spooler, mark: dict[str, Any]) -> None:
    """See to an answer of this moment: nobody could resume the run before Prefect suspended it."""
    if not spooler.query("claim_resuming", {"fid": mark["fid"], "claim": CLAIM}):
        return
    spooler.query("leg_ended", mark)
    try:
        resumed = client.resume_flow_run(UUID(mark["fid"])).status in awaiting.RESUMED
    except PREFECT_AWAY:
        resumed = False
    if resumed:
        spooler.query("not_suspended", mark)
    else:
        spooler.query("resume_again", mark | {"wait": 0})


def _set(client: SyncPrefectClient, run: FlowRun, proposed: State[Any]) -> State[Any] | None:
    """Set a state; asked until it is known whether Prefect has it. None if it refuses.

    Prefect's client repeats what got no answer, and the server refuses what it has accepted.
    """
    backoff = Backoff(RETRY_FIRST, RETRY_MOST)
    try:
        answer = client.set_flow_run_state(run.id, proposed)
        if answer.status is SetStateStatus.ACCEPT:
            return answer.state
    except PREFECT_AWAY:
        time.sleep(backoff.next())
    while True:
        try:
            now = client.read_flow_run(run.id)
        except PREFECT_AWAY:
            time.sleep(backoff.next())
            continue
        return now.state if leg_of(now) > leg_of(run) else None


def _line(exc: BaseException) -> str:
    return " ".join(str(exc).split()) or type(exc).__name__
