"""The cluster of the embedded Postgres: where its files are, its password, URL and database."""

import hashlib
import os
import secrets
import shutil
from pathlib import Path

import psycopg
from psycopg.conninfo import make_conninfo

from kodosumi_prefect.database.connection import connect
from kodosumi_prefect.settings import private_folder
from kodosumi_prefect.stack.postgres_programs import (
    SYSTEM_HOME,
    EmbeddedError,
    ServerUser,
    run_program,
)

ROLE = "kodosumi"  # superuser of the cluster and name of its database
CREATE_TIMEOUT = 60.0  # seconds that making a database may take
REQUIRE_AUTH = 160_000  # the version of libpq that has require_auth


def home_of(data_dir: Path) -> Path:
    """Folder of the cluster, its password and port: in the data dir unless root's cannot be."""
    inside = data_dir.resolve() / "postgres"
    if os.geteuid() != 0 or (inside / "data").exists():
        home = inside
    else:
        parents = (data_dir.resolve(), *data_dir.resolve().parents)
        open_to_all = all(parent.stat().st_mode & 0o001 for parent in parents)
        home = inside if open_to_all else system_home(data_dir)
    if os.geteuid() != 0:
        private_folder(home)
    else:
        home.mkdir(parents=True, exist_ok=True)
        # A umask of 077 would shut out the account that the server runs as.
        for folder in {home, SYSTEM_HOME if SYSTEM_HOME in home.parents else home}:
            folder.chmod(0o711)
    return home


def has_cluster(data_dir: Path) -> bool:
    """Whether there is an embedded Postgres of a data dir, running or not."""
    return any((home / "data").exists() for home in (data_dir / "postgres", system_home(data_dir)))


def system_home(data_dir: Path) -> Path:
    return SYSTEM_HOME / hashlib.sha256(bytes(data_dir.resolve())).hexdigest()[:16]


def password_of(path: Path, cluster: Path) -> str:
    if path.exists() and (known := path.read_text().strip()):
        return known
    if (cluster / "PG_VERSION").exists():
        raise EmbeddedError(
            f"{path} is missing though {cluster} has data; restore it or move the data away"
        )
    password = secrets.token_urlsafe(24)
    path.touch(mode=0o600)
    path.write_text(password)
    return password


def initialise(bin_dir: Path, home: Path, account: ServerUser, password: str) -> None:
    """Make the cluster's files; they get their name when complete, so a kill leaves no half one."""
    draft, password_file = home / "data.new", home / "password.new"
    shutil.rmtree(draft, ignore_errors=True)
    draft.mkdir(mode=0o700)
    password_file.unlink(missing_ok=True)
    password_file.touch(mode=0o600)
    password_file.write_text(password)
    account.give(draft)
    account.give(password_file)
    locale = ["--locale=C", "--encoding=UTF8"]
    locale += ["--locale-provider=builtin", "--builtin-locale=C.UTF-8"]
    argv = [str(bin_dir / "initdb"), "-D", str(draft), "-U", ROLE, *locale]
    argv += ["--auth=scram-sha-256", f"--pwfile={password_file}"]
    try:
        run_program(argv, account, home)
        draft.replace(home / "data")
    except EmbeddedError:
        shutil.rmtree(draft, ignore_errors=True)
        raise
    finally:
        password_file.unlink(missing_ok=True)


def url_of(password: str, port: int) -> str:
    url = f"postgresql://{ROLE}:{password}@127.0.0.1:{port}/{ROLE}"
    # While the server is down another user's program may take its port, and ask for the password.
    # With this it is never told: by SCRAM a server has to prove that it knows the password, too.
    return f"{url}?require_auth=scram-sha-256" if psycopg.pq.version() >= REQUIRE_AUTH else url


def ensure_database(url: str) -> None:
    maintenance = make_conninfo(url, dbname="postgres")
    with connect(maintenance, answer_timeout=CREATE_TIMEOUT) as connection:
        databases = connection.execute("SELECT FROM pg_database WHERE datname = %s", (ROLE,))
        if databases.fetchone() is None:
            connection.execute(f'CREATE DATABASE "{ROLE}"')
