"""All that a run's process says outside of the flow's code, and by other ways than Python's."""

import atexit
import codecs
import threading
import time
from collections import Counter
from collections.abc import Callable
from typing import Any

from kodosumi_prefect.adapter import capture
from kodosumi_prefect.adapter.execution import live_scopes
from kodosumi_prefect.adapter.last_words import LastWords
from kodosumi_prefect.adapter.redrawn import Lines
from kodosumi_prefect.events import Event, Kind, Status, plain
from kodosumi_prefect.process.order import Written
from kodosumi_prefect.runner.supervised import Supervised
from kodosumi_prefect.scope import Scope, attach_adapters
from kodosumi_prefect.settings import get_settings
from kodosumi_prefect.spooler.client import get_client
from kodosumi_prefect.vocabulary import OPEN_STATUS_KEY


class RunOutput:
    """Says that what nobody else owns belongs to the run, and records what was written.

    Arguments:
        fid: the run.

    Attributes:
        attempt: which attempt it is while no code of the flow runs.
    """

    def __init__(self, fid: str) -> None:
        self._fid = fid
        self.attempt = 1
        self._begun = False
        self._lock = threading.Lock()
        self._decoders: dict[str, codecs.IncrementalDecoder] = {}
        self._lines: dict[str, Lines] = {}
        self._recorded: Counter[Any] = Counter()
        self._identity: Callable[[str, Event], Any] | None = None

    def record_but(self, identity: Callable[[str, Event], Any], recorded: Counter[Any]) -> None:
        """Leave out what another process recorded of the same.

        Arguments:
            identity: of an event of an execution.
            recorded: how often there is an event of each identity.
        """
        self._identity, self._recorded = identity, recorded

    def owner(self) -> Scope:
        """The run, for what is said before its flow begins, after its end, or by threads."""
        for scope in live_scopes():
            if scope.fid == self._fid:
                self._begun, self.attempt = True, scope.attempt
                return scope
        if not self._begun:
            self._begun = True
            # Whoever reads the stream expects this first; it is stored once.
            event = Event(
                time.time(), Kind.STATUS, Status.STARTING, self.attempt, dedupe=OPEN_STATUS_KEY
            )
            get_client().emit(self._fid, event)
        return Scope(self._fid, self.attempt)

    def take(self, written: Written) -> None:
        """Record what was written, but for a last line without its end; any thread."""
        with self._lock:
            kind = written.kind
            if kind not in self._decoders:
                self._decoders[kind] = codecs.getincrementaldecoder("utf-8")("replace")
                self._lines[kind] = Lines()
            text = self._decoders[kind].decode(written.data)
            self._record(kind, self._lines[kind].write(text), written.ts)

    def finish(self) -> None:
        """Record what was written without an end."""
        with self._lock:
            for kind, lines in self._lines.items():
                rest = self._decoders[kind].decode(b"", final=True)
                self._record(kind, lines.write(rest) + lines.finish(), time.time())

    def _record(self, kind: str, texts: list[str], ts: float) -> None:
        for text in filter(None, texts):
            if not self._is_recorded(Event(ts, Kind(kind), plain(text))):
                capture.record(self.owner(), Kind(kind), text, ts)

    def _is_recorded(self, event: Event) -> bool:
        if self._identity is None:
            return False
        identity = self._identity(self._fid, event)
        recorded = self._recorded[identity] > 0
        self._recorded[identity] -= recorded
        return recorded


def record_output(fid: str, supervised: Supervised | None) -> RunOutput:
    """Record all that this process says from now on, as far as settings want that."""
    output = RunOutput(fid)
    if supervised is None:
        return output
    settings = get_settings()
    if not settings.enabled or not settings.capture:
        supervised.record(_forgotten)
        return output
    attach_adapters()
    capture.be_supervised(*supervised.beside, LastWords(supervised.memory))
    capture.owners.append(output.owner)
    capture.drains.append(_both(supervised.drain, output.finish))
    capture.hold()
    supervised.record(output.take)
    # Called behind the author's own functions, and before the spool client's, which was imported.
    atexit.register(capture.finish, None)
    return output


def _both(first: Callable[[], None], then: Callable[[], None]) -> Callable[[], None]:
    def both() -> None:
        first()
        then()

    return both


def _forgotten(written: Written) -> None:
    """Output of a run that is not to be recorded."""
