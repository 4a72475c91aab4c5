"""Inputs that are kept in our Postgres instead of Prefect's parameters, and how a run gets them."""

import json
import logging
from typing import Any, NamedTuple

import psycopg

from kodosumi_prefect.error import KodosumiError
from kodosumi_prefect.settings import DatabaseUrlError, Settings, database_url
from kodosumi_prefect.spooler.append import Spooler

logger = logging.getLogger(__name__)


class Payload(NamedTuple):
    """A row of table ``payload``.

    Attributes:
        inputs: as JSON, secret values masked; None if they are among the parameters.
        secrets: encrypted; None if there are none, or they were purged.
        types: what JSON does not say of the inputs, as JSON; None if it says all, or if the
            parameters do.
    """

    inputs: str | None
    secrets: bytes | None
    types: str | None = None


class PayloadError(KodosumiError):
    """A run cannot get its inputs, in one line."""


def take(settings: Settings, payload: str, fid: str | None) -> Payload:
    """The inputs of a run, which are its own from then on.

    Arguments:
        payload: id of the row.
        fid: the run; None for code that is run by hand.

    Raises:
        PayloadError: they are gone or another run's, or the database is not there.
    """
    try:
        url = database_url(settings)
    except DatabaseUrlError as exc:
        raise PayloadError(str(exc)) from exc
    if url is None:
        raise PayloadError(
            "this run's inputs are kept in Postgres, and its process has no database_url; set "
            "database_url for the worker"
        )
    spooler = Spooler(url, settings.database_schema)
    try:
        row = spooler.query("take_payload", {"id": payload, "fid": fid})
    except psycopg.Error as exc:
        raise PayloadError(f"this run's inputs cannot be read from Postgres: {exc}") from exc
    finally:
        spooler.close()
    if not row:
        raise PayloadError(f"this run's inputs, payload {payload}, were deleted")
    return Payload(*row[0])


def visible(settings: Settings, payload: str) -> Any:
    """What people may see of inputs; None if it cannot be had now."""
    return _json_of("show_payload", payload, settings)


def of_schedule(settings: Settings, schedule: str) -> dict[str, Any] | None:
    """The parameters that a schedule was made with; None if they cannot be had now."""
    parameters: dict[str, Any] | None = _json_of("scheduled_parameters", schedule, settings)
    return parameters


def _json_of(query: str, id_: str, settings: Settings) -> Any:
    try:
        url = database_url(settings)
    except DatabaseUrlError:  # logged where the settings were read
        return None
    if url is None:
        return None
    spooler = Spooler(url, settings.database_schema)
    try:
        rows = spooler.query(query, {"id": id_})
    except psycopg.Error as exc:
        logger.warning("%s of %s cannot be read now: %s", query, id_, exc)
        return None
    finally:
        spooler.close()
    return json.loads(rows[0][0]) if rows and rows[0][0] else None
