"""A wrong ``database_url`` is told without its password, wherever it is read or used."""

import os
import subprocess
import sys
import traceback
from pathlib import Path

import psycopg
import pytest
from prefect.settings import PREFECT_API_URL, temporary_settings
from pydantic import SecretStr, ValidationError

from kodosumi_prefect import settings as settings_module
from kodosumi_prefect.cli.doctor.finding import Verdict
from kodosumi_prefect.cli.doctor.postgres import check_postgres
from kodosumi_prefect.database.connection import connect, conninfo, without_secrets
from kodosumi_prefect.settings import (
    PREFIX,
    DatabaseUrlError,
    Settings,
    database_url,
    get_settings,
    listen_url,
    read_settings,
)
from kodosumi_prefect.spooler import spill
from tests.prefect_http import AUTH_STRING

PASSWORD = "sEcReT"
WRONG = {
    "SQLAlchemy's scheme": f"postgresql+asyncpg://app:{PASSWORD}@127.0.0.1:1/db",
    "another scheme": f"jdbc:postgresql://app:{PASSWORD}@127.0.0.1:1/db",
    "a bare %": f"postgresql://app:{PASSWORD}%@127.0.0.1:1/db",
    "a bare @": f"postgresql://app:x@{PASSWORD}@127.0.0.1:1/db",
    "a bare /": f"postgresql://app:5432/{PASSWORD}@127.0.0.1:1/db",
    "a bare / and text": f"postgresql://app:x/{PASSWORD}@127.0.0.1:1/db",
    "a parameter that is none": f"postgresql://app@127.0.0.1:1/db?pass={PASSWORD}",
    "no URL": f"{PASSWORD}",
    "a blank": f"host=127.0.0.1 port=1 password=x {PASSWORD}",
    "an open quote": f"host=127.0.0.1 port=1 password='{PASSWORD}",
    "an option that is none": f"host=127.0.0.1 port=1 {PASSWORD}=x",
    "a port that is none": f"postgresql://app:x@127.0.0.1:{PASSWORD}/db",
}
RIGHT = [
    f"postgresql://app:{PASSWORD}@127.0.0.1:1/db",
    f"postgres://app:{PASSWORD}%40%2F%25@127.0.0.1:1,[::1]:2/db?sslmode=require",
    f"host=127.0.0.1 port=1 password='{PASSWORD} @/%'",
    "postgresql:///db?host=/run/postgresql&application_name=a@b",
]


@pytest.mark.parametrize("name", ["database_url", "database_listen_url"])
@pytest.mark.parametrize("url", WRONG.values(), ids=WRONG)
def test_settings_refuse_it_and_say_why_without_it(url: str, name: str) -> None:
    with pytest.raises(ValidationError) as caught:
        Settings(**{name: url})  # type: ignore[arg-type]
    shown = "".join(traceback.format_exception(caught.value)) + str(caught.value)
    assert PASSWORD not in shown
    assert name in str(caught.value)
    assert "postgresql://" in shown or "percent-encode" in shown


@pytest.mark.parametrize("url", RIGHT)
def test_what_libpq_reads_is_taken(url: str) -> None:
    settings = Settings(database_url=SecretStr(url), database_listen_url=SecretStr(url))
    assert database_url(settings) == listen_url(settings) == url
    assert PASSWORD not in repr(settings)


@pytest.mark.parametrize("url", WRONG.values(), ids=WRONG)
def test_a_flow_reads_it_all_the_same_and_no_use_of_it_tells(
    url: str, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    settings = read_settings({"database_url": url, "data_dir": tmp_path})
    for use in (database_url, listen_url):
        with pytest.raises(DatabaseUrlError) as caught:
            use(settings)
        assert PASSWORD not in "".join(traceback.format_exception(caught.value))
    with pytest.raises(DatabaseUrlError) as caught:
        conninfo(url)
    assert PASSWORD not in "".join(traceback.format_exception(caught.value))
    (finding,) = check_postgres(settings)
    assert finding.verdict is Verdict.FAIL
    assert PASSWORD not in f"{finding.text} {finding.remedy} {caplog.text} {spill.folder(settings)}"


def test_another_wrong_setting_is_an_error_as_ever(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(f"{PREFIX}DATABASE_URL", WRONG["a bare %"])
    monkeypatch.setenv(f"{PREFIX}PORT", "many")
    settings_module.reset_settings()
    try:
        with pytest.raises(ValidationError) as caught:
            get_settings()
    finally:
        settings_module.reset_settings()
    assert PASSWORD not in str(caught.value)


def test_what_libpq_says_while_connecting_is_told_without_the_password() -> None:
    url = f"postgresql://app:{PASSWORD}@127.0.0.1:1/db"
    said = f'invalid value: "{PASSWORD}" and more'
    assert without_secrets(said, url) == 'invalid value: "********" and more'
    with pytest.raises(psycopg.OperationalError) as caught:
        connect(f"postgresql://app:{PASSWORD}@{PASSWORD}.invalid/db")
    assert PASSWORD not in "".join(traceback.format_exception(caught.value))


COMMANDS = [
    "config",
    "config --verbose",
    "doctor",
    "db upgrade",
    "db current",
    "db check",
    "panel --port 0",
    "observer",
    "runs",
    "tail 11111111-1111-1111-1111-111111111111",
    "clean",
    "drain",
    "user list",
    "user operator somebody",
    "spool replay",
    "spool start",
    "up",
]


def environment(url: str, folder: Path) -> dict[str, str]:
    return os.environ | {
        f"{PREFIX}DATABASE_URL": url,
        f"{PREFIX}DATA_DIR": str(folder),
        f"{PREFIX}RETENTION_DAYS": "1",
        "PREFECT_HOME": str(folder / "prefect"),
        "PREFECT_LOGGING_LEVEL": "DEBUG",
    }


@pytest.mark.timeout(600)
@pytest.mark.parametrize("kind", ["SQLAlchemy's scheme", "a bare %"])
def test_no_command_tells_it(kind: str, tmp_path: Path) -> None:
    # All at once would be as many interpreters; one after the other takes long.
    script = f"""
import contextlib, io, logging, sys
from kodosumi_prefect import cli
from kodosumi_prefect import settings
for command in {COMMANDS!r}:
    sys.argv = ["kodosumi-prefect", *command.split()]
    settings.reset_settings()
    print("##", command, flush=True)
    sys.stderr.flush()
    try:
        cli.main()
    except SystemExit as exc:
        print("## ended with", exc.code, flush=True)
"""
    ran = subprocess.run(
        [sys.executable, "-c", script],
        env=environment(WRONG[kind], tmp_path),
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        timeout=500,
    )
    told = ran.stdout + ran.stderr
    assert PASSWORD not in told
    assert "Traceback" not in told, told
    assert ran.stdout.count("## ended with 1") == len(COMMANDS), told
    reason = "scheme that libpq does not know" if "scheme" in kind else "percent-encode"
    assert told.count(reason) >= len(COMMANDS)


def test_a_flow_runs_and_its_log_says_why_it_is_not_recorded(
    prefect_server: str, tmp_path: Path
) -> None:
    script = """
from kodosumi_prefect import Tracer, flow

@flow
def own(tracer: Tracer) -> str:
    tracer.debug("something")
    return "its own result"

print(own())
"""
    path = tmp_path / "own_flow.py"
    path.write_text(script)
    ran = subprocess.run(
        [sys.executable, str(path)],
        env=environment(WRONG["a bare %"], tmp_path)
        | {"PREFECT_API_URL": prefect_server, "PREFECT_API_AUTH_STRING": AUTH_STRING},
        capture_output=True,
        text=True,
        timeout=120,
    )
    assert ran.returncode == 0, ran.stderr
    assert "its own result" in ran.stdout
    assert PASSWORD not in ran.stdout + ran.stderr
    assert "percent-encode" in ran.stdout + ran.stderr
    # Nothing is lost: the next process with a right URL delivers it.
    assert list((tmp_path / "spool").rglob("*.spool"))


def test_a_worker_does_not_begin_and_tells_why(prefect_server: str, tmp_path: Path) -> None:
    from kodosumi_prefect.runner.worker import KodosumiRayWorker

    settings_module.reset_settings(
        read_settings({"database_url": WRONG["a bare %"], "data_dir": tmp_path})
    )
    try:
        with (
            temporary_settings({PREFECT_API_URL: prefect_server}),
            pytest.raises(DatabaseUrlError) as caught,
        ):
            KodosumiRayWorker(work_pool_name="none")
    finally:
        settings_module.reset_settings()
    assert PASSWORD not in "".join(traceback.format_exception(caught.value))
