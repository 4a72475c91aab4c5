"""What a killed process had recorded, but not confirmed, is not recorded again."""

import time
from uuid import uuid4

import pytest

from kodosumi_prefect.adapter.last_words import Said
from kodosumi_prefect.events import Event, Kind
from kodosumi_prefect.process.order import Written
from kodosumi_prefect.runner.run_output import RunOutput
from kodosumi_prefect.runner.unrecorded import record_rest
from kodosumi_prefect.spooler.client import get_client
from tests.services import Place

PIECES = (b"one\n", b"two\n", b"one\none\n")


def child(fid: str, written: list[Written]) -> list[Said]:
    """What a process makes of it, as it stands in its last words."""
    events: list[Said] = []

    class Noting(RunOutput):
        def _record(self, kind: str, texts: list[str], ts: float) -> None:
            events.extend(Said(fid, Event(ts, Kind(kind), text, 1)) for text in texts)

    output = Noting(fid)
    for one in written:
        output.take(one)
    return events


@pytest.mark.parametrize("stored", [True, False], ids=["stored", "in its last words"])
@pytest.mark.parametrize("recorded", range(len(PIECES) + 1))
def test_what_was_recorded_before_a_kill_is_recorded_once(
    place: Place, recorded: int, stored: bool
) -> None:
    fid, now = str(uuid4()), time.time()
    written = [Written("stdout", now + number, data) for number, data in enumerate(PIECES)]
    said = child(fid, written[:recorded])
    every = [one.event.payload for one in child(fid, written)]
    if stored:
        for one in said:
            get_client().emit(*one)
        assert get_client().flush(30)
        said = []
    record_rest(fid, said, written, RunOutput(fid))
    assert get_client().flush(30)
    rows = [event.payload for event in place.recorded(fid).events if event.kind == "stdout"]
    assert sorted(rows) == sorted(every)
