"""Events are UTF-8, whatever role, environment or URL say; a database that is not is refused."""

from collections.abc import Iterator

import psycopg
import pytest
from psycopg.conninfo import make_conninfo
from pydantic import SecretStr

from kodosumi_prefect.cli.doctor.finding import Verdict
from kodosumi_prefect.cli.doctor.postgres import check_postgres
from kodosumi_prefect.database import migrate
from kodosumi_prefect.database.connection import connect
from kodosumi_prefect.settings import Settings
from kodosumi_prefect.spooler.append import Spooler
from kodosumi_prefect.stack.embedded_postgres import EmbeddedPostgres
from kodosumi_prefect.stream.reader import Reader
from tests.spooler.recording import batch, execute, fresh, said

TEXT = "ü 漢字 \U0001f600 €"


@pytest.fixture(params=["the role's or database's", "the environment's", "the URL's"])
def latin(request: pytest.FixtureRequest, database: str, monkeypatch) -> str:
    """A URL whose client_encoding would be LATIN1."""
    if request.param == "the environment's":
        monkeypatch.setenv("PGCLIENTENCODING", "LATIN1")
    elif request.param == "the URL's":
        return make_conninfo(database, client_encoding="LATIN1")
    else:
        name = psycopg.conninfo.conninfo_to_dict(database)["dbname"]
        execute(database, f"ALTER DATABASE {name} SET client_encoding = 'LATIN1'")
    return database


async def test_text_is_stored_and_read_as_it_was_said(latin: str) -> None:
    fid = fresh()
    spooler = Spooler(latin, "kodosumi")
    spooler.append([batch(fid, said(TEXT), header={"summary": TEXT})])
    spooler.close()
    async with Reader(latin, "kodosumi") as reader:
        assert [event.payload for event in (await reader.page(fid)).events] == [TEXT]
        found = await reader.status(fid)
    assert found is not None
    assert found.summary == TEXT
    with connect(latin) as connection:
        assert connection.info.encoding == "utf-8"
    assert migrate.upgrade(latin, "kodosumi") == migrate.newest()


@pytest.fixture(params=["LATIN1", "SQL_ASCII"])
def narrow(request: pytest.FixtureRequest, postgres: EmbeddedPostgres) -> Iterator[str]:
    """A database that cannot hold every text, or does not know what it holds."""
    name = f"in_{request.param.lower()}"
    execute(
        postgres.url,
        f"CREATE DATABASE {name} ENCODING '{request.param}' TEMPLATE template0"
        " LOCALE_PROVIDER libc LC_COLLATE 'C' LC_CTYPE 'C'",
    )
    yield make_conninfo(postgres.url, dbname=name)
    execute(postgres.url, f"DROP DATABASE {name} WITH (FORCE)")


def test_a_database_of_another_encoding_is_refused_in_one_line(
    narrow: str, settings: Settings
) -> None:
    with pytest.raises(migrate.EncodingError, match=r"has encoding (LATIN1|SQL_ASCII)") as caught:
        migrate.upgrade(narrow, "kodosumi")
    assert "ENCODING 'UTF8'" in str(caught.value)
    assert "\n" not in str(caught.value)
    assert migrate.current(narrow, "kodosumi") is None
    findings = check_postgres(settings.model_copy(update={"database_url": SecretStr(narrow)}))
    (finding,) = [one for one in findings if one.check == "encoding"]
    assert finding.verdict is Verdict.FAIL
    assert "ENCODING 'UTF8'" in (finding.remedy or "")
