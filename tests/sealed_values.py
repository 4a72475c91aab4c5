"""Values of each kind that is encrypted in the database, and reading them."""

import asyncio
import json
from typing import Any, NamedTuple
from uuid import uuid4

import psycopg
from cryptography.fernet import InvalidToken

from kodosumi_prefect.keys import run_keys
from kodosumi_prefect.locks.sealing import sealed, unsealed
from kodosumi_prefect.panel.services.launch_answer import LaunchAnswer
from kodosumi_prefect.panel.services.launch_keys import AskedLaunch, LaunchKeys
from kodosumi_prefect.refusals import ConflictError, InvalidError
from kodosumi_prefect.settings import Settings
from kodosumi_prefect.stream.reader import Reader

SECRET = "correct-horse-battery"
KEY = "asked twice"


class Kept(NamedTuple):
    """Where they are.

    Attributes:
        payload: id of the inputs of a schedule.
        fid: the execution with an answered lock, whose id is the same.
        launched: the run that a launch with a key began.
    """

    payload: str
    fid: str
    launched: str


def keep(url: str, settings: Settings, fid: str) -> Kept:
    """Store one of each, encrypted with the secret key in force."""
    token = run_keys(settings).box.encrypt(json.dumps([SECRET]).encode())
    with psycopg.connect(url, autocommit=True) as connection:
        row = connection.execute(
            "INSERT INTO kodosumi.payload (secrets, kept) VALUES (%s, true) RETURNING id::text",
            (token,),
        ).fetchone()
        connection.execute(
            "INSERT INTO kodosumi.lock"
            " (execution_id, lid, name, attempt, state, result, opened_at, expires_at)"
            " SELECT id, %s, 'approve', 1, 'leased', %s, now(), now() + interval '1 day'"
            " FROM kodosumi.execution WHERE fid = %s",
            (fid, sealed({"password": SECRET}, settings), fid),
        )
    assert row is not None
    launched = str(uuid4())
    answer, repeated = _asked(url, settings, launched)
    assert (answer.fid, repeated) == (launched, False)
    return Kept(row[0], fid, launched)


def readable(url: str, settings: Settings, kept: Kept) -> dict[str, bool]:
    """Which of them can be read with the keys that are known."""
    return {
        "inputs": _reads(lambda: _inputs(url, settings, kept)) == [SECRET],
        "answer": _reads(lambda: _answer(url, settings, kept)) == {"password": SECRET},
        "launch": _reads(lambda: _asked(url, settings, "another")[0].fid) == kept.launched,
    }


def _inputs(url: str, settings: Settings, kept: Kept) -> Any:
    token = _one(url, "SELECT secrets FROM kodosumi.payload WHERE id = %s::uuid", kept.payload)
    return json.loads(run_keys(settings).box.decrypt(token))


def _answer(url: str, settings: Settings, kept: Kept) -> Any:
    query = "SELECT result FROM kodosumi.lock WHERE lid = %s"
    return unsealed(_one(url, query, kept.fid), settings)


def _reads(read: Any) -> Any:
    try:
        return read()
    except (InvalidToken, InvalidError, ConflictError):
        return None


def _one(url: str, query: str, value: str) -> Any:
    with psycopg.connect(url) as connection:
        row = connection.execute(query, (value,)).fetchone()
    assert row is not None
    return row[0]


def _asked(url: str, settings: Settings, launches: str) -> tuple[LaunchAnswer, bool]:
    async def launch(_: str) -> LaunchAnswer:
        return LaunchAnswer.of_run(launches)

    async def ask() -> tuple[LaunchAnswer, bool]:
        async with Reader(url, "kodosumi", 1) as reader:
            keys = LaunchKeys(settings, reader)
            asked = AskedLaunch("owner", "endpoint", KEY, keys.digests({"n": 1}))
            done = await keys.once(asked, launch)
            return done.answer, done.repeated

    return asyncio.run(ask())
