"""A question whose database is away when it is answered, or when its time is up."""

import threading
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import pytest
from psycopg.conninfo import conninfo_to_dict, make_conninfo
from pydantic import SecretStr

from kodosumi_prefect import Tracer, flow
from kodosumi_prefect.settings import use_settings
from tests.answering import answer, locks, until_open
from tests.panel.panel_runs import Gate
from tests.services import Place

pytestmark = pytest.mark.timeout(120)


@pytest.fixture
def gate(place: Place) -> Iterator[Gate]:
    """A door between flows of this process and their database; the test itself needs none."""
    address = conninfo_to_dict(place.database)
    gate = Gate(str(address["host"]), int(str(address["port"])))
    url = make_conninfo(place.database, host="127.0.0.1", hostaddr="127.0.0.1", port=gate.port)
    with use_settings(place.settings.model_copy(update={"database_url": SecretStr(url)})):
        yield gate
    gate.close()


@contextmanager
def shut(gate: Gate) -> Iterator[None]:
    gate.shut()
    try:
        yield
    finally:
        gate.open()


def test_a_deadline_passes_while_the_database_is_away(place: Place, gate: Gate) -> None:
    @flow
    def asks_cut_off(tracer: Tracer) -> str:
        tracer.debug("before")
        assert tracer.flush_sync()
        with pytest.raises(TimeoutError, match=r"not answered within 3 seconds"):
            tracer.lock_sync("approve", timeout=3)
        assert place.recorded(tracer.fid).row["status"] == "awaiting"
        gate.open()
        return "went on"

    def away() -> None:
        until_open(place.database)
        gate.shut()

    thread = threading.Thread(target=away)
    thread.start()
    recorded = place.run(asks_cut_off)
    thread.join()
    assert recorded.final == {"str": "went on"}
    assert [row["state"] for row in locks(place.database, recorded.fid, None)] == ["expired"]
    (lease,) = (e.value for e in recorded.events if e.kind == "lease")
    assert (lease["result"], lease["state"]) == (None, "expired")
    assert recorded.of("status") == ["starting", "running", "awaiting", "running", "finished"]


def test_an_answer_given_while_the_run_is_cut_off_is_heard_when_it_is_back(
    place: Place, gate: Gate
) -> None:
    @flow
    def asks_meanwhile(tracer: Tracer) -> Any:
        answered = tracer.lock_sync("approve", timeout=60)
        heard.set()
        return answered

    def answers() -> None:
        (lock,) = until_open(place.database)
        with shut(gate):
            answer(place.database, lock["fid"], lock["lid"], {"approved": True})
            early.append(heard.wait(0.5))

    heard = threading.Event()
    early: list[bool] = []
    thread = threading.Thread(target=answers)
    thread.start()
    recorded = place.run(asks_meanwhile)
    thread.join()
    assert early == [False]
    assert recorded.final == {"dict": {"approved": True}}
    assert [e.kind for e in recorded.events].count("lease") == 1
