"""Runs whose process or Runner ended without reporting it: reported to Prefect."""

import os
import platform
from pathlib import Path
from typing import Any

from prefect.client.schemas.objects import FlowRun, StateType
from prefect.states import Cancelled, Crashed

from kodosumi_prefect.observer.api import Api
from kodosumi_prefect.stream.rows import LiveExecution

HANDED_OVER = 10.0  # seconds in which another worker may take over a Runner whose claim lapsed


async def bury(api: Api, row: LiveExecution, run: FlowRun, our_pools: frozenset[str]) -> None:
    """Report a run Crashed (or Cancelled, if that was asked for) that nobody executes any more."""
    if (why := cause(row, run.work_pool_name, our_pools)) is None:
        return
    cancelling = run.state is not None and run.state.type is StateType.CANCELLING
    state: Any = Cancelled(message=why) if cancelling else Crashed(message=why)
    # Whoever reported a crash meanwhile knew more of it.
    await (await api.client()).set_flow_run_state(run.id, state, force=cancelling)


def cause(row: LiveExecution, pool: str | None, our_pools: frozenset[str]) -> str | None:
    """What is known about the end of a run whose process has been silent; None if it may live.

    A process on another machine is known by its Runner only: its worker's claim on it lapses. A
    Runner that lives reports itself how its run's process ended, and has the run's hooks run.
    """
    process = row.process
    if process and process.get("host") == platform.node():
        if is_alive(process) or _reports(row):
            return None
        return f"Process {process['pid']} on {process['host']} ended without reporting it."
    if row.has_runner:
        if _is_answered_for(row):
            return None
        return (
            f"Runner {row.actor_name or 'without a name'} on node {row.node or 'unknown'} "
            f"(pid {row.pid or 'unknown'}) ended without reporting it{_silent(row)}; worker "
            f"{row.worker or 'unknown'} has not answered for it for {row.lapsed:.0f} s."
        )
    if pool in our_pools:
        where = f" {process['pid']} on {process['host']}" if process else ""
        return (
            f"Process{where} ended without reporting it{_silent(row)}; no Runner executes the run."
        )
    return None


def _reports(row: LiveExecution) -> bool:
    """Whether the Runner of a process on this machine is there to report its end."""
    return row.pid is not None and _is_answered_for(row) and is_alive({"pid": row.pid})


def _is_answered_for(row: LiveExecution) -> bool:
    """Whether a worker answers for the Runner, or another one may take it over."""
    return row.has_runner and (row.lapsed is None or row.lapsed <= HANDED_OVER)


def is_alive(process: dict[str, Any]) -> bool:
    """Whether the process that a row names still runs on this machine.

    Where the start time cannot be read, a process with the same id counts as the same.
    """
    try:
        os.kill(int(process["pid"]), 0)
    except ProcessLookupError:
        return False
    except PermissionError:
        pass
    try:
        stat = Path(f"/proc/{process['pid']}/stat").read_text()
    except OSError:
        return True
    fields = stat.rpartition(")")[2].split()
    return fields[0] != "Z" and process.get("started") in (None, float(fields[19]))


def _silent(row: LiveExecution) -> str:
    silent = row.silent
    return f", its last heartbeat was {silent:.0f} s ago" if silent is not None else ""
