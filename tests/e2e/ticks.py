"""Runs that emit numbered ticks until told to stop, and a record of them outside our own."""

import threading
import time
from contextlib import suppress
from pathlib import Path
from typing import Any

import httpx

from tests.e2e.running import Up
from tests.waiting import wait_for

AT_ONCE = 0.1  # seconds after which what was emitted survives its process
RIGHT_WITHIN = 30.0  # seconds from the end of a fault to the right terminal status


class Ticks:
    """A run of ``alone``, ``together`` or ``plain`` of ``flows_under_test.py``, or another's.

    Arguments:
        folder: the run's own, where it writes down what it emitted.
        names: who emits in it.
    """

    def __init__(self, up: Up, fid: str, folder: Path, *names: str) -> None:
        self.up, self.fid = up, fid
        self._folder = folder
        self._names = names or ("flow",)

    def emitted(self, name: str = "flow") -> list[tuple[int, float]]:
        """Numbers and times of what an emitter has emitted so far."""
        path = self._folder / name
        lines = path.read_text().splitlines(keepends=True) if path.exists() else []
        whole = [line.split() for line in lines if line.endswith("\n")]
        return [(int(number), float(at)) for number, at in whole]

    def until_ticking(self, more: int = 20, seconds: float = 60) -> None:
        """Wait until each emitter has emitted ``more`` than now."""
        wanted = {name: len(self.emitted(name)) + more for name in self._names}
        wait_for(
            lambda: all(len(self.emitted(name)) >= many for name, many in wanted.items()),
            seconds,
            f"{more} more ticks of {self._names}",
        )

    def until_recorded(self, seconds: float = RIGHT_WITHIN) -> None:
        """Wait until what has been emitted by now is in the stream."""
        self.up.until(self.fid, "running", seconds)
        wanted = {name: len(self.emitted(name)) for name in self._names}
        wait_for(
            lambda: all(len(self.recorded(name)) >= many for name, many in wanted.items()),
            seconds,
            f"the record of {wanted}",
        )

    def recorded(self, name: str = "flow") -> list[int]:
        """The numbers of an emitter's ticks in the stream."""
        words = [e["payload"].split() for e in self.up.events(self.fid, kinds="debug")]
        return [int(word[1]) for word in words if len(word) == 2 and word[0] == name]

    def stop(self) -> None:
        """Let the run end."""
        (self._folder / "stop").touch()

    def finishes(self, seconds: float = RIGHT_WITHIN) -> list[dict[str, Any]]:
        """Let the run end if it does not yet; it ended well and all it emitted is recorded."""
        self.stop()
        self.up.until(self.fid, "finished", seconds)
        wait_for(
            lambda: self.up.prefect_state(self.fid)["type"] == "COMPLETED", seconds, "COMPLETED"
        )
        events = self._gap_free()
        for name in self._names:
            assert self.recorded(name) == [number for number, _ in self.emitted(name)]
        assert [e["kind"] for e in events].count("final") == 1
        kinds = [(e["kind"], e["payload"]) for e in events if e["kind"] in ("status", "error")]
        assert kinds == [("status", "starting"), ("status", "running"), ("status", "finished")]
        return events

    def ends_badly(self, prefect_state: str, fault_at: float) -> list[dict[str, Any]]:
        """The run ends as an error; all it emitted until just before the fault is recorded.

        Arguments:
            fault_at: time of the fault, in epoch seconds.
        """
        self.up.until(self.fid, "error", RIGHT_WITHIN)
        wait_for(
            lambda: self.up.prefect_state(self.fid)["type"] == prefect_state,
            RIGHT_WITHIN,
            f"{prefect_state} in Prefect, which has {self.up.prefect_state(self.fid)}",
        )
        events = self._gap_free()
        for name in self._names:
            numbers = self.recorded(name)
            assert numbers == list(range(len(numbers)))
            due = [number for number, at in self.emitted(name) if at < fault_at - AT_ONCE]
            assert due, f"{name} had not emitted anything"
            assert len(numbers) >= len(due), f"{name} loses what it emitted before the fault"
        told = [e for e in events if e["kind"] in ("status", "error", "final")]
        assert [e["kind"] for e in told[-2:]] == ["error", "status"]
        assert told[-1]["payload"] == "error"
        assert events[-1] == told[-1]
        assert [e["payload"] for e in told[:2]] == ["starting", "running"]
        again = [(e["payload"], e["source"]["state"]["type"]) for e in told[2:-2]]
        assert set(again) <= {("running", "CANCELLING")}
        assert self.up.stream(self.fid)[-1][0] == "eof"
        return events

    def _gap_free(self) -> list[dict[str, Any]]:
        events = self.up.events(self.fid)
        assert [e["seq"] for e in events] == list(range(1, len(events) + 1))
        assert {e["attempt"] for e in events} == {1}
        return events


class Listener(threading.Thread):
    """A client of a panel's stream that reconnects, as browsers do, behind what it got.

    Attributes:
        client: of the panel that it asks the next time, signed in.
        ids: of all events it got.
        broken: how often its connection broke, or could not be made.
        ended: whether it got ``eof``.
    """

    def __init__(self, client: httpx.Client, fid: str) -> None:
        super().__init__(daemon=True)
        self._fid = fid
        self.client = client
        self.ids: list[int] = []
        self.broken = 0
        self.ended = False
        self.start()

    def run(self) -> None:
        while not self.ended:
            with suppress(httpx.HTTPError):
                self._listen()
            self.broken += not self.ended
            time.sleep(0.2)

    def _listen(self) -> None:
        headers = {"Last-Event-ID": str(self.ids[-1])} if self.ids else {}
        url = f"/outputs/stream/{self._fid}"
        with self.client.stream("GET", url, headers=headers, timeout=30) as response:
            name, number = "", None
            for line in response.raise_for_status().iter_lines():
                field, _, value = line.partition(": ")
                if field == "event":
                    name = value
                elif field == "id":
                    number = int(value)
                elif not line and name:
                    if name == "eof":
                        self.ended = True
                        return
                    if number is not None and name != "alive":
                        self.ids.append(number)
                    name, number = "", None

    def got(self, events: list[dict[str, Any]]) -> None:
        """It gets to the end, and got each event once and in order."""
        self.join(RIGHT_WITHIN)
        assert self.ended
        assert self.ids == [event["seq"] for event in events]


def now() -> float:
    """The clock by which ticks are dated."""
    return time.time()
