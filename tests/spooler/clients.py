"""Spool clients in other processes, and what they leave on disk."""

import subprocess
import sys
from pathlib import Path

import pytest

from kodosumi_prefect.settings import Settings
from kodosumi_prefect.spooler import spill
from kodosumi_prefect.spooler.append import Spooler
from kodosumi_prefect.spooler.client import SpoolClient
from kodosumi_prefect.spooler.replay import replay_orphans

MEBIBYTE = 1024 * 1024
# For tests of what holds whichever way events go.
both_ways = pytest.mark.parametrize("line", ["database", "panel"], indirect=True)

everywhere = pytest.mark.parametrize(
    "line", ["database", "panel", "database of the panel"], indirect=True
)


def spill_files(settings: Settings) -> list[Path]:
    return sorted(spill.folder(settings).glob("*"))


def spilled(client: SpoolClient) -> bool:
    """Whether the client has noticed the outage and moved everything to its file."""
    return not client.connected and client._inbox.empty() and not client._delivery.undelivered.queue


def script(code: str, settings: Settings, *arguments: str) -> "subprocess.Popen[str]":
    """Run code that finds ``client`` and ``said`` ready, in another process."""
    given = {
        name: secret.get_secret_value()
        for name in ("database_url", "run_token")
        if (secret := getattr(settings, name)) is not None
    }
    if settings.panel_url is not None:
        given["panel_url"] = settings.panel_url
    head = f"""
import os, sys, time
from pathlib import Path
from kodosumi_prefect.events import Event, Kind
from kodosumi_prefect.settings import Settings, reset_settings
from kodosumi_prefect.spooler.client import get_client
reset_settings(Settings(data_dir=Path({str(settings.data_dir)!r}),
    flush_timeout={settings.flush_timeout}, **{given!r}))
client = get_client()
def say(fid, text, kind=Kind.STDOUT):
    client.emit(fid, Event(time.time(), kind, text))
"""
    return subprocess.Popen(
        [sys.executable, "-c", head + code, *arguments],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )


def deliver_orphans(settings: Settings, database: str) -> dict[str, int]:
    """What ``kodosumi-prefect spool replay`` does, past the line that may be cut."""
    spooler = Spooler(database, "kodosumi")
    try:
        return replay_orphans(settings, spooler)
    finally:
        spooler.close()
