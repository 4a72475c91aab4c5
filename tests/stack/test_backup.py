"""Back up, lose everything, restore: what is there again, and what is not without the key."""

import asyncio
import sqlite3
from collections.abc import Callable, Iterator
from contextlib import closing
from itertools import count
from pathlib import Path

import psycopg
import pytest
from psycopg.conninfo import make_conninfo
from pydantic import SecretStr

from kodosumi_prefect.cli import app
from kodosumi_prefect.database import migrate
from kodosumi_prefect.keys import FILE, make_secret
from kodosumi_prefect.settings import Settings, reset_settings, use_settings, write_address
from kodosumi_prefect.stack import backup
from kodosumi_prefect.stack.backup import PREFECT, RECORD, BackupError
from kodosumi_prefect.stack.embedded_postgres import EmbeddedPostgres
from kodosumi_prefect.stream.reader import Reader
from tests.panel.panel_runs import Stand, serving
from tests.sealed_values import keep, readable

PASSWORD = "of a person with an account"
AHEAD = 1_000_000  # transactions that the cluster had done of which a backup is
ALL = {"inputs": True, "answer": True, "launch": True}
_numbers = count(1)


@pytest.fixture
def empty_database(postgres: EmbeddedPostgres) -> Iterator[str]:
    """The URL of a database with nothing in it."""
    name = f"empty_{next(_numbers)}"
    with psycopg.connect(postgres.url, autocommit=True) as connection:
        connection.execute(f"CREATE DATABASE {name}")
    try:
        yield make_conninfo(postgres.url, dbname=name)
    finally:
        with psycopg.connect(postgres.url, autocommit=True) as connection:
            connection.execute(f"DROP DATABASE {name} WITH (FORCE)")


def db(settings: Settings, *words: str) -> None:
    """`kodosumi-prefect db …` with these settings in force."""
    reset_settings(settings)
    with use_settings(settings):
        app(["db", *words])


def sign_in(stand: Stand) -> int:
    form = {"name": "Mira", "password": PASSWORD}
    with stand.connect() as client:
        return client.post("/api/login", json=form).status_code


def get(stand: Stand, path: str, token: str) -> int:
    with stand.connect(token) as client:
        return client.get(path).status_code


def events(stand: Stand, fid: str) -> list[tuple[int, str, str]]:
    page = stand.json(f"/outputs/events/{fid}")
    return [(one["seq"], one["kind"], one["payload"]) for one in page["items"]]


def test_a_backup_of_postgres_brings_everything_back_and_sealed_values_with_the_key(
    settings: Settings,
    database: str,
    empty_database: str,
    tmp_path: Path,
    tmp_path_factory: pytest.TempPathFactory,
) -> None:
    with serving(settings) as stand:
        person = {"name": "Mira", "password": PASSWORD, "email": None}
        assert stand.client.post("/role", json=person).status_code == 201
        key = stand.client.post("/keys", json={"name": "of a program"}).json()["key"]
        session = stand.token
        done, going = stand.run().begin().lines("a", "b").finish(), stand.run().begin().lines("c")
        kept = keep(database, settings, done.fid)
        with psycopg.connect(database) as connection:
            connection.execute("UPDATE kodosumi.execution SET changed = changed + %s", (AHEAD,))
        before = {fid: events(stand, fid) for fid in (done.fid, going.fid)}
        db(settings, "backup", str(tmp_path / "copy"))
    assert [path.name for path in (tmp_path / "copy").iterdir()] == [RECORD]
    assert (tmp_path / "copy" / RECORD).stat().st_mode & 0o077 == 0
    secret = (settings.data_dir / FILE).read_text()
    assert secret.encode() not in (tmp_path / "copy" / RECORD).read_bytes()

    restored = Settings(
        database_url=SecretStr(empty_database), data_dir=tmp_path_factory.mktemp("elsewhere")
    )
    db(restored, "restore", str(tmp_path / "copy"))
    (restored.data_dir / FILE).write_text(secret)
    with serving(restored) as stand:
        assert {fid: events(stand, fid) for fid in before} == before
        assert sign_in(stand) == 200
        assert get(stand, "/flow", key) == get(stand, "/flow", session) == 200
        assert readable(empty_database, restored, kept) == ALL
        # Streams go on, and clients hear of that alone.
        counter = stand.json("/timeline/changes")["timestamp"]
        assert stand.json(f"/timeline/changes?since={counter}")["update"] == []
        later = stand.run().begin()
        [changed] = stand.json(f"/timeline/changes?since={counter}")["update"]
        assert changed["fid"] == later.fid

    (restored.data_dir / FILE).unlink()
    with serving(restored) as stand:  # makes a key of its own
        assert {fid: events(stand, fid) for fid in before} == before
        assert sign_in(stand) == get(stand, "/flow", key) == 200
        assert get(stand, "/flow", session) == 401
        assert readable(empty_database, restored, kept) == dict.fromkeys(ALL, False)


def test_a_stack_is_restored_into_a_new_data_dir(
    database: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    source, target = (Settings(data_dir=tmp_path / name) for name in ("one", "other"))
    make_secret(source)
    write_address(source, "postgres", {"url": database})  # as `up` does
    (source.data_dir / "prefect").mkdir()
    with closing(sqlite3.connect(source.data_dir / "prefect" / PREFECT)) as prefect:
        prefect.execute("PRAGMA journal_mode = WAL")
        prefect.execute("CREATE TABLE deployment (name text)")
        prefect.execute("INSERT INTO deployment VALUES ('prime-gaps')")
        prefect.commit()  # it is in the log beside the file, and the server goes on
        db(source, "backup", str(tmp_path / "copy"))
    try:
        db(target, "restore", str(tmp_path / "copy"))
        assert "restored schema kodosumi: 0 executions" in capsys.readouterr().out
        with closing(sqlite3.connect(target.data_dir / "prefect" / PREFECT)) as prefect:
            assert prefect.execute("SELECT name FROM deployment").fetchall() == [("prime-gaps",)]
        with EmbeddedPostgres(target.data_dir) as postgres:
            assert migrate.current(postgres.url, "kodosumi") == migrate.newest()
        with pytest.raises(BackupError, match="there already"):
            db(target, "restore", str(tmp_path / "copy"))
        # Of a stack that is stopped, too.
        db(target, "backup", str(tmp_path / "again"))
        assert {path.name for path in (tmp_path / "again").iterdir()} == {RECORD, PREFECT}
    finally:
        EmbeddedPostgres(target.data_dir).destroy()


def test_what_stands_in_the_way_is_named(
    settings: Settings, empty_database: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refused(words: Callable[[], None]) -> str:
        with pytest.raises(BackupError) as told:
            words()
        assert len(str(told.value).splitlines()) == 1
        return str(told.value)

    copy = tmp_path / "copy"
    assert "is not there" in refused(lambda: db(settings, "restore", str(copy)))
    nothing = settings.model_copy(update={"database_url": SecretStr(empty_database)})
    assert "nothing to copy" in refused(lambda: db(nothing, "backup", str(copy)))
    assert "no Postgres is configured" in refused(
        lambda: db(Settings(data_dir=tmp_path / "none"), "backup", str(copy))
    )
    db(settings, "backup", str(copy))
    assert "is not empty" in refused(lambda: db(settings, "backup", str(copy)))
    assert "there already" in refused(lambda: db(settings, "restore", str(copy)))
    (copy / RECORD).write_bytes(b"PGDMP, and then nothing")
    assert "pg_restore failed" in refused(lambda: db(nothing, "restore", str(copy)))
    monkeypatch.setattr(backup, "_major", lambda url: 99)
    assert "no pg_dump for Postgres 99" in refused(
        lambda: db(settings, "backup", str(tmp_path / "other"))
    )
    assert not (tmp_path / "other").exists()


def test_a_restored_list_of_changes_begins_anew_at_the_next_upgrade(
    settings: Settings, database: str
) -> None:
    """Of a database that was restored by other means."""
    with serving(settings) as stand:
        stand.run().begin()
    with psycopg.connect(database) as connection:
        connection.execute("UPDATE kodosumi.execution SET changed = changed + %s", (AHEAD,))

    async def repeated() -> int:
        async with Reader(database, "kodosumi", 1) as reader:
            _, counter = await reader.changes(None)
            return len((await reader.changes(counter))[0])

    assert asyncio.run(repeated()) == 1
    db(settings, "upgrade")
    assert asyncio.run(repeated()) == 0
