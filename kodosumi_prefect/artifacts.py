"""Artifacts in Prefect: links to what a run leaves in ``out/``, and its result if that is markdown.

Made beside the run, by a thread of its own; where Prefect does not take them there are none.
"""

import json
import logging
import os
import queue
import re
import threading
import time
from contextvars import Context, copy_context
from typing import Any, NamedTuple
from urllib.parse import quote
from uuid import UUID

from prefect.client.orchestration import get_client
from prefect.client.schemas.actions import ArtifactCreate
from prefect.settings import PREFECT_API_URL

from kodosumi_prefect.events import Kind, serialize
from kodosumi_prefect.response import Markdown
from kodosumi_prefect.settings import Settings, panel_url
from kodosumi_prefect.spans.contents import kept_payload

MOST_LINKS = 20  # of a run, by each of its processes
KNOWN_RUNS = 1_000  # whose links a process counts
LONGEST = 200_000  # characters of a result
WAITING = 200  # that wait to be made, at most
QUIET = 0.2  # seconds without another one before those that wait are made
PATIENCE = 5.0  # seconds that the first one waits for quiet, at most
_NOT_IN_KEYS = re.compile("[^a-z0-9]+")

logger = logging.getLogger(__name__)


class _Waiting(NamedTuple):
    """An artifact that is to be made, and the context with the settings of Prefect for it."""

    artifact: ArtifactCreate
    context: Context


class _Maker:
    """Makes artifacts, one after the other, in a thread that is started at the first one."""

    def __init__(self) -> None:
        self._waiting: queue.Queue[_Waiting] = queue.Queue(WAITING)
        self._starting = threading.Lock()
        self._thread: threading.Thread | None = None
        self._links: dict[str, int] = {}
        self._added_at = 0.0
        self._hurried = threading.Event()

    def link(self, fid: str) -> bool:
        """Whether one more link of this run is to be made; counts it."""
        count = self._links.get(fid, 0) + 1
        if len(self._links) > KNOWN_RUNS:
            self._links.clear()
        self._links[fid] = count
        return count <= MOST_LINKS

    def add(self, fid: str, key: str, text: str, description: str) -> None:
        """Have an artifact made of markdown."""
        artifact = ArtifactCreate(
            key=key, type="markdown", description=description, data=text, flow_run_id=UUID(fid)
        )
        try:
            self._waiting.put_nowait(_Waiting(artifact, copy_context()))
        except queue.Full:
            logger.debug("no artifact %s is made: too many wait", key)
            return
        self._added_at = time.monotonic()
        with self._starting:
            if self._thread is None:
                self._thread = threading.Thread(
                    target=self._run, name="kodosumi-artifacts", daemon=True
                )
                self._thread.start()

    def settle(self, timeout: float) -> None:
        """Wait until all are made, at most ``timeout`` seconds."""
        until = time.monotonic() + timeout
        self._hurried.set()
        with self._waiting.all_tasks_done:
            while self._waiting.unfinished_tasks and (left := until - time.monotonic()) > 0:
                self._waiting.all_tasks_done.wait(left)

    def _run(self) -> None:
        waiting: _Waiting | None = None
        while True:
            if waiting is None:
                waiting = self._waiting.get()
                self._await_quiet()
            waiting = waiting.context.run(self._make, waiting)

    def _await_quiet(self) -> None:
        """Leave the processors to whoever leaves many files at once."""
        until = time.monotonic() + PATIENCE
        while (now := time.monotonic()) < until and (left := self._added_at + QUIET - now) > 0:
            if self._hurried.wait(left):
                return

    def _make(self, first: _Waiting) -> _Waiting | None:
        """Make all that waits of one run, by one client; what is to be made after it."""
        fid = first.artifact.flow_run_id
        waiting: _Waiting | None = first
        try:
            with get_client(sync_client=True) as client:
                while waiting is not None and waiting.artifact.flow_run_id == fid:
                    client.create_artifact(waiting.artifact)
                    self._waiting.task_done()
                    waiting = self._following()
        except Exception as exc:  # whatever Prefect answers, the run goes on
            logger.debug("an artifact is not made: %s", exc)
            if waiting is not None:
                self._waiting.task_done()
            return None
        return waiting

    def _following(self) -> _Waiting | None:
        try:
            return self._waiting.get_nowait()
        except queue.Empty:
            return None


_maker = _Maker()


def of_file(fid: str, path: str, settings: Settings) -> None:
    """Have a link to a file in ``out/`` among the run's artifacts."""
    # In this order: most of many files get no link, and the settings take longer.
    if not path.startswith("out/") or not _maker.link(fid) or not _wanted(settings):
        return
    url = f"{panel_url(settings)}/files/{fid}/{quote(path)}"
    name = path.removeprefix("out/")
    text = re.sub(r"([\\\[\]<>`*_])", r"\\\1", name)
    _maker.add(fid, key_of(name), f"[{text}]({url})", f"The file {name} of the run")


def of_result(fid: str, flow_name: str | None, result: Any, settings: Settings) -> None:
    """Have a result that is markdown among the run's artifacts."""
    if not isinstance(result, Markdown) or not _wanted(settings):
        return
    kept = kept_payload(Kind.FINAL, serialize(result), settings)
    body = (json.loads(kept).get("Markdown") or {}).get("body") if kept is not None else None
    if not isinstance(body, str):
        return
    if len(body) > LONGEST:
        page = f"{panel_url(settings)}/executions/{fid}"
        body = f"{body[:LONGEST]}\n\n… [all of it]({page})"
    _maker.add(fid, key_of(f"{flow_name or 'flow'} result"), body, "The result of the run")


def settle(timeout: float) -> None:
    """Wait until all artifacts are made, at most ``timeout`` seconds."""
    _maker.settle(timeout)


def key_of(name: str) -> str:
    """What Prefect takes for a key: small letters, digits and dashes."""
    return _NOT_IN_KEYS.sub("-", name.lower()).strip("-")[:200] or "file"


def _wanted(settings: Settings) -> bool:
    # Without an address Prefect's client would start a server of its own.
    return settings.run_artifacts and settings.enabled and bool(PREFECT_API_URL.value())


def _after_fork() -> None:
    """The thread is the parent's."""
    global _maker
    _maker = _Maker()


os.register_at_fork(after_in_child=_after_fork)
