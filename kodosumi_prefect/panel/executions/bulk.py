"""One action on many executions, a few at a time."""

import asyncio
import json
from collections.abc import Sequence
from typing import Any, Literal, NamedTuple
from uuid import UUID

from kodosumi_prefect.database.rows.files import GivenFiles
from kodosumi_prefect.events import TERMINAL
from kodosumi_prefect.launch.run_again import run_again
from kodosumi_prefect.launch.starting import new_id
from kodosumi_prefect.owner import Owner
from kodosumi_prefect.panel.accounts.permissions import User
from kodosumi_prefect.panel.audit import recorded_actions
from kodosumi_prefect.panel.audit.entry import Target
from kodosumi_prefect.panel.audit.journal import Journal
from kodosumi_prefect.panel.executions.actions import cancel_run, end
from kodosumi_prefect.panel.executions.cancellation import NotCancelledError, UnknownRunError
from kodosumi_prefect.panel.executions.rows import title
from kodosumi_prefect.panel.html.words import size_words
from kodosumi_prefect.panel.services.launch_answer import LaunchAnswer
from kodosumi_prefect.panel.services.launch_keys import AskedLaunch
from kodosumi_prefect.panel.web.state import State
from kodosumi_prefect.refusals import RefusedError
from kodosumi_prefect.stream.rows import StoredExecution

AT_ONCE = 4  # requests to Prefect at once
NAMED = 5  # files that are named before something is run again

Action = Literal["cancel", "archive", "again"]
RECORDED = {
    "cancel": recorded_actions.Action.CANCEL,
    "archive": recorded_actions.Action.ARCHIVE,
    "again": recorded_actions.Action.RUN_AGAIN,
}


class Trouble(NamedTuple):
    """Why something was not done to an execution."""

    fid: str
    title: str
    why: str


async def act(
    panel: State,
    user: User,
    action: Action,
    rows: Sequence[StoredExecution],
    journal: Journal,
    key: str | None = None,
    *,
    with_files: bool = True,
) -> list[Trouble]:
    """Cancel, archive or run again; a failure does not stop the others.

    Arguments:
        key: what is run again with the same one is run again once.
        with_files: what is run again takes the files along that it was given.

    Raises:
        psycopg.OperationalError: the database is away.
    """
    few = asyncio.Semaphore(AT_ONCE)

    async def one(row: StoredExecution) -> Trouble | None:
        async with few:
            entry = journal.record(RECORDED[action], Target("execution", row.fid, title(row)))
            try:
                why = await _one(panel, user, action, row, key, with_files)
            except _RepeatedError:
                journal.entries.remove(entry)
                return None
            entry.outcome = (
                recorded_actions.Outcome.OK if why is None else recorded_actions.Outcome.REFUSED
            )
        return None if why is None else Trouble(row.fid, title(row), why)

    return [trouble for trouble in await asyncio.gather(*map(one, rows)) if trouble is not None]


async def given_files(panel: State, user: User, fids: Sequence[str]) -> str | None:
    """What goes along when these are run again, in words; None for nothing."""
    visible = user.sees(panel.settings)._asdict()
    [given] = await panel.reader.rows_of(
        GivenFiles, "given_files", fids=list(fids), names=NAMED, **visible
    )
    if not given.files:
        return None
    listed = ", ".join(given.names)
    if given.files > len(given.names):
        listed += f" and {given.files - len(given.names):,} more"
    of = "it was" if len(fids) == 1 else f"{given.executions:,} of them were"
    return f"with the files that {of} given: {listed} ({size_words(given.bytes)})"


class _RepeatedError(Exception):
    """It was run again already, when that was asked for the first time."""


async def _one(
    panel: State,
    user: User,
    action: Action,
    row: StoredExecution,
    key: str | None,
    with_files: bool,
) -> str | None:
    if not user.owns(row.owner):
        return "only its owner and operators may do this"
    try:
        if action == "cancel":
            if row.status in TERMINAL:
                return "it has ended"
            await cancel_run(panel, UUID(row.fid))
        elif action == "archive":
            await end(panel, row)
            await panel.reader.execute("set_archived", fids=[row.fid], archived=True)
        else:
            await _run_again(panel, user, row, key, with_files)
    except UnknownRunError:
        return "Prefect no longer has it"
    except NotCancelledError as exc:
        return exc.detail.removeprefix(f"{row.fid} ")
    except RefusedError as exc:
        return exc.detail
    return None


async def _run_again(
    panel: State, user: User, row: StoredExecution, key: str | None, with_files: bool
) -> None:
    owner, inputs = Owner(user.id, user.name), _masked_inputs(row)

    async def launch(launch_id: str) -> LaunchAnswer:
        return LaunchAnswer.of_run(
            await run_again(
                row.fid,
                owner,
                panel.settings,
                visible_inputs=inputs,
                launch_id=launch_id,
                with_files=with_files,
            )
        )

    if key is None:
        await launch(new_id())
        return
    asked_for = (row.fid,) if with_files else (row.fid, "without files")
    digests = panel.launch_keys.digests("again", *asked_for)
    asked = AskedLaunch(user.id, f"again {row.fid}", key, digests)
    if (await panel.launch_keys.once(asked, launch)).repeated:
        raise _RepeatedError


def _masked_inputs(row: StoredExecution) -> dict[str, Any] | None:
    """The inputs as recorded, secret ones masked."""
    envelope = json.loads(row.inputs) if row.inputs else None
    inner = envelope.get("dict") if isinstance(envelope, dict) else None
    return inner if isinstance(inner, dict) else None
