"""How long-running commands write their log: text, or one JSON object per line."""

import json
import logging
import os
from datetime import UTC, datetime
from typing import Any

from kodosumi_prefect.scope import known_scope
from kodosumi_prefect.settings import Settings

OURS = ("kodosumi_prefect", "uvicorn.error")


def install_logging(settings: Settings) -> None:
    """Write our log lines to stderr, as JSON if ``log_json`` is on."""
    handler = logging.StreamHandler()
    if not settings.log_json:
        logging.getLogger("kodosumi_prefect").addHandler(handler)
        return
    handler.setFormatter(JsonLines())
    for name in OURS:
        logging.getLogger(name).addHandler(handler)
        logging.getLogger(name).propagate = False


class JsonLines(logging.Formatter):
    """One object per line: ``ts, level, logger, message, pid``; ``fid``, ``error`` if known."""

    def format(self, record: logging.LogRecord) -> str:
        line: dict[str, Any] = {
            "ts": datetime.fromtimestamp(record.created, UTC).isoformat(timespec="milliseconds"),
            "level": record.levelname.lower(),
            "logger": record.name,
            "message": record.getMessage(),
            "pid": os.getpid(),
        }
        if (fid := _fid(record)) is not None:
            line["fid"] = fid
        if record.exc_info:
            line["error"] = self.formatException(record.exc_info)
        return json.dumps(line, ensure_ascii=False, default=str)


def _fid(record: logging.LogRecord) -> str | None:
    if (fid := getattr(record, "fid", None)) is not None:
        return str(fid)
    scope = known_scope()
    return scope.fid if scope is not None else None
