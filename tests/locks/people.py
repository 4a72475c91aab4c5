"""Questions and people of one database, as tests of both need them."""

import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import psycopg
from psycopg.rows import dict_row

from kodosumi_prefect.events import Event, Kind, Status, serialize
from kodosumi_prefect.spooler.append import Spooler
from tests.spooler.recording import batch, entered, fresh, said


def person(url: str, name: str, *, operator: bool = False, active: bool = True) -> str:
    """A new account; its id."""
    with psycopg.connect(url) as connection:
        [id_] = connection.execute(
            "INSERT INTO kodosumi.role (name, operator, active) VALUES (%s, %s, %s) RETURNING id",
            (name, operator, active),
        ).fetchone() or [None]
    return str(id_)


def team(url: str, name: str, *members: str) -> None:
    """A new team of accounts, by their ids."""
    with psycopg.connect(url) as connection:
        connection.execute(
            "WITH made AS (INSERT INTO kodosumi.team (name) VALUES (%s) RETURNING id)"
            " INSERT INTO kodosumi.team_member SELECT made.id, m FROM made, unnest(%s::uuid[]) m",
            (name, list(members)),
        )


def fetch(url: str, query: str, *values: Any) -> list[dict[str, Any]]:
    with psycopg.connect(url, row_factory=dict_row) as connection:
        cursor = connection.execute(query, values)
        return cursor.fetchall() if cursor.description else []


def steps(url: str) -> list[tuple[Any, ...]]:
    """What was done about all locks, in its order."""
    found = fetch(url, "SELECT * FROM kodosumi.lock_step ORDER BY id")
    return [(each["step"], each["who_name"], each["reached"]) for each in found]


class Asked:
    """A run of ``owner`` that asks something.

    Attributes:
        lid: of its lock.
    """

    def __init__(self, url: str, owner: str | None = None) -> None:
        self.url = url
        self.fid = fresh()
        self.lid = fresh()
        self._spooler = Spooler(url, "kodosumi")
        self._writer, self._number = fresh(), 0
        self._header = {"owner": owner, "flow_name": "some-flow"}
        self.put(entered(Status.RUNNING, "Running", time.time(), 1))

    def ask(self, seconds: float = 60.0, opened: float | None = None, **more: Any) -> "Asked":
        """Ask, ``seconds`` before it expires; ``opened`` by the clock of the run."""
        at = time.time() if opened is None else opened
        told = {"name": "approve", "lid": self.lid, "data": None, "expires": at + seconds} | more
        return self.put(said(serialize(told), Kind.LOCK, attempt=1)._replace(ts=at))

    def put(self, *events: Event) -> "Asked":
        self._number += 1
        one = batch(
            self.fid, *events, writer=self._writer, number=self._number, header=self._header
        )
        self._spooler.append([one])
        return self

    def pass_time(self, seconds: float) -> None:
        """Have what is planned for this lock come earlier, as if time had passed."""
        fetch(
            self.url,
            "UPDATE kodosumi.lock_plan SET due_at = due_at - make_interval(secs => %s)",
            seconds,
        )
        fetch(
            self.url,
            "UPDATE kodosumi.lock SET deadline = deadline - make_interval(secs => %s)",
            seconds,
        )

    def close(self) -> None:
        self._spooler.close()


@contextmanager
def asked(url: str, owner: str | None = None, **more: Any) -> Iterator[Asked]:
    """A run that waits for an answer."""
    run = Asked(url, owner)
    try:
        yield run.ask(**more)
    finally:
        run.close()
