"""Checks of how people sign in to the panel: whether it can distinguish them."""

import psycopg

from kodosumi_prefect.cli.doctor.finding import Finding, ok, warn
from kodosumi_prefect.database.connection import connect
from kodosumi_prefect.database.sql import Queries
from kodosumi_prefect.settings import Settings, database_url

CHECK = "sign-in"
MANY = 10  # failed logins of one address, from which on the panel has it wait
PEOPLE = 3  # names that were tried, from which on one address looks like several people
WAY_OUT = "set proxy_networks to the addresses that the reverse proxy connects from"


def check_sign_in(settings: Settings) -> Finding:
    """Whether one person's wrong passwords can lock others out, as far as can be told."""
    if settings.auth == "proxy" and not settings.proxy_networks:
        text = "auth is proxy, but proxy_networks is empty: only API keys can sign in"
        return warn(CHECK, text, WAY_OUT)
    if not settings.proxy_networks and (settings.panel_url or "").startswith("https://"):
        text = (
            "panel_url is https, so something stands before the panel, but proxy_networks is "
            "empty: all people share one address, and its wrong passwords lock all of them out"
        )
        return warn(CHECK, text, WAY_OUT)
    if (crowd := _crowd(settings)) is not None:
        return crowd
    return ok(CHECK, "no sign that people share one address")


def _crowd(settings: Settings) -> Finding | None:
    """What the failed logins of the last hour look like; None if like nothing, or not readable."""
    url = database_url(settings)
    if url is None:
        return None
    try:
        with connect(url) as connection:
            query = Queries(settings.database_schema)["recent_failures"]
            failed = [(str(key), int(count)) for key, count in connection.execute(query)]
    except psycopg.Error:  # told by the checks of the database
        return None
    addresses = [(key.partition(" ")[2], n) for key, n in failed if key.startswith("address ")]
    names = sum(key.startswith("name ") for key, _ in failed)
    if len(addresses) != 1 or addresses[0][1] < MANY or names < PEOPLE:
        return None
    address, count = addresses[0]
    text = f"all {count} failed logins of the last hour came from {address}, at {names} names"
    return warn(
        CHECK, text, f"if it is a reverse proxy: {WAY_OUT}; if not, somebody is guessing passwords"
    )
