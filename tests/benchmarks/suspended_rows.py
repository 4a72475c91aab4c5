"""Thousands of suspended runs, in our database and in Prefect's, as one that is real has them."""

import json
import sqlite3
from contextlib import closing
from pathlib import Path
from uuid import uuid4

import psycopg

ELEMENTS = json.dumps([{"type": "boolean", "name": "approved", "option": "Approved"}])
EXECUTIONS = """
INSERT INTO kodosumi.execution (fid, flow_name, summary, deployment_id, deployment_name, work_pool,
    status, state_type, state_name, state_ts, attempt, inputs, open_locks, process, heartbeat_at,
    created_at, started_at, last_seq, suspended_leg, resume_at)
SELECT copy.fid, e.flow_name, 'seeded', e.deployment_id, e.deployment_name, e.work_pool,
    e.status, e.state_type, e.state_name, e.state_ts, e.attempt, e.inputs, e.open_locks,
    e.process, e.heartbeat_at, e.created_at - interval '1 hour', e.started_at, e.last_seq,
    e.suspended_leg, now() + interval '2 days'
FROM kodosumi.execution e, unnest(%(fids)s::uuid[]) AS copy (fid) WHERE e.fid = %(fid)s
"""
LOCKS = """
INSERT INTO kodosumi.lock (execution_id, lid, name, attempt, elements, state, opened_at, expires_at)
SELECT id, gen_random_uuid()::text, 'approve', attempt, %(elements)s, 'open', now(),
    now() + interval '2 days'
FROM kodosumi.execution WHERE fid = ANY(%(fids)s::uuid[])
"""
# People were told of these questions when they were asked.
TELLS = "ALTER TABLE kodosumi.lock {} TRIGGER tell_of_new_lock"


def copy_suspended(url: str, prefect: Path, fid: str, count: int) -> None:
    """Have ``count`` runs wait as ``fid`` does, that began an hour before it.

    Arguments:
        url: of our Postgres.
        prefect: the file of the Prefect server's SQLite database.
    """
    fids = _in_prefect(prefect, fid, count)
    values = {"fid": fid, "fids": fids, "elements": ELEMENTS}
    with psycopg.connect(url) as connection:
        connection.execute(TELLS.format("DISABLE"))
        connection.execute(EXECUTIONS, values)
        connection.execute(LOCKS, values)
        connection.execute(TELLS.format("ENABLE"))
    with psycopg.connect(url, autocommit=True) as connection:
        connection.execute("VACUUM ANALYZE kodosumi.execution, kodosumi.lock")


def _in_prefect(file: Path, fid: str, count: int) -> list[str]:
    ids = [(str(uuid4()), str(uuid4())) for _ in range(count)]
    with closing(sqlite3.connect(file, timeout=60)) as database, database:
        database.execute("CREATE TEMP TABLE copy (run TEXT, state TEXT)")
        database.executemany("INSERT INTO copy VALUES (?, ?)", ids)
        found = database.execute("SELECT state_id FROM flow_run WHERE id = ?", (fid,))
        (state,) = found.fetchone()
        began = "strftime('%Y-%m-%d %H:%M:%f', one.start_time, '-1 hour')"
        new = {"id": "copy.run", "state_id": "copy.state", "start_time": began}
        new["idempotency_key"] = "NULL"
        _copy(database, "flow_run", fid, new)
        _copy(database, "flow_run_state", state, {"id": "copy.state", "flow_run_id": "copy.run"})
        database.execute("DROP TABLE copy")
    return [run for run, _ in ids]


def _copy(database: sqlite3.Connection, table: str, id_: str, new: dict[str, str]) -> None:
    names = [row[1] for row in database.execute(f"PRAGMA table_info({table})")]
    values = ", ".join(new.get(name, f"one.{name}") for name in names)
    database.execute(
        f"INSERT INTO {table} ({', '.join(names)}) SELECT {values} FROM {table} one, copy"
        " WHERE one.id = ?",
        (id_,),
    )
