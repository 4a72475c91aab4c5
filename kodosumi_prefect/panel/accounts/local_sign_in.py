"""Signing in without a password, for programs of this package on the panel's own machine."""

from kodosumi_prefect.database.connection import connect
from kodosumi_prefect.database.sql import Queries
from kodosumi_prefect.keys import panel_keys
from kodosumi_prefect.panel.accounts.sessions import Sessions, Use
from kodosumi_prefect.settings import Settings, database_url

SECONDS = 3600.0


def local_token(settings: Settings, seconds: float = SECONDS, use: Use = "header") -> str:
    """A session of an operator, for the header ``KODOSUMI_API_KEY`` or the cookie.

    Who can read the secret key and the database needs no password. Blocks; not for event loops.

    Raises:
        LookupError: there is no database, or no operator in it: the panel never started.
        psycopg.OperationalError: the database is away.
    """
    url = database_url(settings)
    if url is None:
        raise LookupError("there is no database, so nobody can be signed in")
    with connect(url) as connection:
        row = connection.execute(Queries(settings.database_schema)["an_operator"]).fetchone()
    if row is None:
        raise LookupError("there is no active operator; the panel makes one when it starts")
    return Sessions(panel_keys(settings).session, seconds).begin(row[0], row[1], use)
