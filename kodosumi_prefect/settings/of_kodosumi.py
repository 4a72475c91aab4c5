"""Settings of Kodosumi itself, ``KODO_…``: read where ours are not set, with a note that says so.

The names are those of its documentation; what else begins with ``KODO_`` belongs to others.
"""

import os
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, NamedTuple
from urllib.parse import urlsplit

from dotenv import dotenv_values
from pydantic.fields import FieldInfo
from pydantic_settings import PydanticBaseSettingsSource

from kodosumi_prefect.settings.areas.access import SHORTEST_PASSWORD, SHORTEST_SECRET
from kodosumi_prefect.settings.values import split_names

PREFIX = "KODO_"
LABEL = "KODO_…"  # where such a value came from, for `kodosumi-prefect config`
SECRETS = frozenset({"KODO_SECRET_KEY", "KODO_ADMIN_PASSWORD"})

Values = dict[str, Any]  # of settings of ours


def _server(text: str) -> Values:
    """Where the panel listens; behind https or a path, only where people reach it."""
    parts = urlsplit(text)
    port = parts.port
    if parts.scheme not in ("http", "https") or not parts.hostname:
        raise ValueError("it is not an http address")
    if parts.scheme == "https" or parts.path.strip("/"):
        return {"panel_url": text}
    return {"host": parts.hostname, "port": 80 if port is None else port}


def _secret(text: str) -> Values:
    if len(text) < SHORTEST_SECRET:
        raise ValueError(f"it is shorter than {SHORTEST_SECRET} characters")
    return {"secret_key": text}


def _password(text: str) -> Values:
    if len(text) < SHORTEST_PASSWORD:
        raise ValueError(f"it is shorter than {SHORTEST_PASSWORD} characters")
    return {"admin_password": text}


def _origins(text: str) -> Values:
    try:
        origins = split_names(text)
    except ValueError:
        raise ValueError("it is no list of origins") from None
    if not isinstance(origins, list) or not all(isinstance(one, str) for one in origins):
        raise ValueError("it is no list of origins")
    if "*" in origins:
        raise ValueError("it has *, and origins have to be named")
    return {"cors_origins": origins}


def _seconds(text: str) -> Values:
    seconds = float(text)
    if not 0 < seconds < float("inf"):
        raise ValueError("it is no number of seconds")
    return {"service_timeout": seconds}


class _Counterpart(NamedTuple):
    """Settings of ours that one of Kodosumi stands for, and how it is read; raises ValueError."""

    names: tuple[str, ...]
    read: Callable[[str], Values]


COUNTERPARTS = {
    "KODO_ADMIN_PASSWORD": _Counterpart(("admin_password",), _password),
    "KODO_APP_SERVER": _Counterpart(("host", "port", "panel_url"), _server),
    "KODO_CORS_ORIGINS": _Counterpart(("cors_origins",), _origins),
    "KODO_PROXY_TIMEOUT": _Counterpart(("service_timeout",), _seconds),
    "KODO_RAY_SERVER": _Counterpart(("ray_address",), lambda text: {"ray_address": text}),
    "KODO_SECRET_KEY": _Counterpart(("secret_key",), _secret),
}
WITHOUT = frozenset(
    f"{PREFIX}{name}"
    for name in (
        "ADMIN_DATABASE",
        "ADMIN_EMAIL",
        "ANONYMOUS",
        "APP_LOG_BACKUP_COUNT",
        "APP_LOG_FILE",
        "APP_LOG_FILE_LEVEL",
        "APP_LOG_MAX_BYTES",
        "APP_RELOAD",
        "APP_STD_LEVEL",
        "APP_WORKERS",
        "AUDIT_LOG_BACKUP_COUNT",
        "AUDIT_LOG_FILE",
        "AUDIT_LOG_MAX_BYTES",
        "BOOT_HEALTH_TIMEOUT",
        "CHUNK_SIZE",
        "EXEC_DIR",
        "LOCK_EXPIRES",
        "MASUMI",
        *(f"MASUMI{number}" for number in range(10)),
        "RAY_DASHBOARD",
        "RAY_SERVE_ADDRESS",
        "SAVE_CHUNK_SIZE",
        "SERVE_EXECUTABLE",
        "SPOOLER_BATCH_SIZE",
        "SPOOLER_BATCH_TIMEOUT",
        "SPOOLER_INTERVAL",
        "SPOOLER_LOG_BACKUP_COUNT",
        "SPOOLER_LOG_FILE",
        "SPOOLER_LOG_FILE_LEVEL",
        "SPOOLER_LOG_MAX_BYTES",
        "SPOOLER_STD_LEVEL",
        "SSL_CA_CERTS",
        "SSL_CERTFILE",
        "SSL_KEYFILE",
        "SSL_KEYFILE_PASSWORD",
        "SUMI_ADDRESS",
        "UPLOAD_DIR",
        "UVICORN_LEVEL",
        "WAIT_FOR_JOB",
        "YAML_BASE",
    )
)


class KodosumiSettingsSource(PydanticBaseSettingsSource):
    """What is set for Kodosumi itself; it counts where nothing else is set."""

    def get_field_value(self, field: FieldInfo, field_name: str) -> tuple[Any, str, bool]:
        return self().get(field_name), field_name, False

    def __call__(self) -> Values:
        values: Values = {}
        for name, text in _set_for_kodosumi().items():
            if (counterpart := COUNTERPARTS.get(name)) is not None:
                values |= _read(counterpart, text)[0]
        return values


def notes(sources: Mapping[str, str], prefix: str) -> list[str]:
    """What became of the settings of Kodosumi that are set, one line each; no values.

    Arguments:
        sources: where each of our settings came from.
        prefix: of the variables of ours.
    """
    lines = []
    variables = _set_for_kodosumi()
    for name, text in sorted(variables.items()):
        counterpart = COUNTERPARTS.get(name)
        if counterpart is None:
            continue
        values, wrong = _read(counterpart, text)
        if wrong is not None:
            ours = f"{prefix}{counterpart.names[0].upper()}"
            lines.append(f"{name} is not used: {wrong}; set {ours} instead")
        elif used := [each for each in values if sources.get(each) == LABEL]:
            ours = " and ".join(f"{prefix}{each.upper()}" for each in used)
            lines.append(f"{name} is read as {' and '.join(used)}; set {ours} instead")
    if unused := sorted(variables.keys() & WITHOUT):
        lines.append(f"without a counterpart here, and ignored: {', '.join(unused)}")
    return lines


def _read(counterpart: _Counterpart, text: str) -> tuple[Values, str | None]:
    try:
        return counterpart.read(text), None
    except ValueError as exc:
        # Texts of Python's own quote the value.
        own = str(exc).startswith("it ")
        return {}, str(exc) if own else "it cannot be read"


def _set_for_kodosumi() -> dict[str, str]:
    """Its settings by name, as it reads them: of the environment, else of ``.env``."""
    path = Path(".env")
    try:
        file = dotenv_values(path) if path.is_file() else {}
    except (OSError, UnicodeError):
        file = {}
    found: dict[str, str] = {}
    for given in (file, os.environ):
        for name, text in given.items():
            known = name.upper()
            if text and (known in COUNTERPARTS or known in WITHOUT):
                found[known] = text
    return found
