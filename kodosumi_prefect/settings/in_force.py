"""The settings in force: of the process, or of the block that runs."""

import logging
from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from typing import Any

from pydantic import ValidationError

from kodosumi_prefect.settings.areas.database import DATABASE_URLS, lenient
from kodosumi_prefect.settings.fields import Settings

logger = logging.getLogger(__name__)

_override: ContextVar[Settings | None] = ContextVar("kodosumi_settings", default=None)
_process: Settings | None = None


def get_settings() -> Settings:
    """The settings in force here: a surrounding ``use_settings``, else the process's own.

    The process's own are read once; call ``reset_settings`` after changing the environment. A
    database's URL that is none stops no flow: it is an error where the database is needed.
    """
    global _process
    if (settings := _override.get()) is not None:
        return settings
    if _process is None:
        _process = read_settings({})
    return _process


def read_settings(values: dict[str, Any]) -> Settings:
    """Settings with some values given; a database's URL that is none is logged and let through.

    Raises:
        ValidationError: another value is wrong.
    """
    try:
        return Settings(**values)
    except ValidationError as exc:
        errors = exc.errors(include_input=False, include_context=False, include_url=False)
        if any(error["loc"][:1] not in [(name,) for name in DATABASE_URLS] for error in errors):
            raise
        problems = "; ".join(error["msg"].removeprefix("Value error, ") for error in errors)
        logger.error("%s", problems)
    token = lenient.set(True)
    try:
        return Settings(**values)
    finally:
        lenient.reset(token)


def reset_settings(settings: Settings | None = None) -> None:
    """Read the process's settings anew at their next use, or make them ``settings``."""
    global _process
    _process = settings


@contextmanager
def use_settings(settings: Settings) -> Iterator[Settings]:
    """Make ``settings`` the ones in force inside the block, in this context only."""
    token = _override.set(settings)
    try:
        yield settings
    finally:
        _override.reset(token)
