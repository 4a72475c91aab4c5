"""All that the process of a run says is recorded once, and still goes where it went."""

import re
from collections import Counter
from collections.abc import Iterator
from uuid import uuid4

import pytest

from kodosumi_prefect.process.environment import own_environment
from kodosumi_prefect.process.nursery import Nursery
from kodosumi_prefect.process.order import Outcome
from kodosumi_prefect.process.supervision import Supervision
from tests.runner.orders import ordered
from tests.services import SAMPLES, Place, Recorded

FILE = SAMPLES / "says_all.py"
SPOKEN = ("stdout", "stderr", "debug")
WORDS = {
    "word-import",
    "word-print",
    "word-print-error",
    "word-kept-stream",
    "word-buffer",
    "word-write",
    "word-write-error",
    "word-c",
    "word-subprocess",
    "word-python",
    "word-spawn-print",
    "word-spawn-write",
    "word-forkserver-print",
    "word-forkserver-write",
    "word-fork-print",
    "word-fork-write",
    "word-thread",
    "word-own-logger",
    "word-root-logger",
    "word-loguru",
    "word-run-logger",
    "word-without-newline",
}
# Spawned children import the flow's file, too.
TWICE = {"word-import": 3}


@pytest.fixture(scope="module")
def nursery() -> Iterator[Nursery]:
    """What processes are forked from; it ends soon after its connection."""
    made = Nursery.reach(own_environment(), f"tests-{uuid4()}")
    yield made
    made.close()


def words(texts: list[str], beginning: str) -> Counter[str]:
    """How often each word is in some texts."""
    return Counter(re.findall(rf"\b{beginning}-[a-z-]*[a-z]\b", "\n".join(texts)))


def spoken(recorded: Recorded) -> list[str]:
    return recorded.of(*SPOKEN)


def ends_with_its_end(recorded: Recorded) -> bool:
    """Whether all that was said stands before the run's end."""
    kinds = [event.kind for event in recorded.events if event.kind in (*SPOKEN, "status")]
    return kinds[-1] == "status"


@pytest.mark.parametrize("warm", [True, False])
def test_everything_a_process_says_is_recorded_once_and_goes_on(
    place: Place, nursery: Nursery, capfd: pytest.CaptureFixture[str], warm: bool
) -> None:
    order = ordered(place, "says_all", {}, FILE)
    assert Supervision(order, nursery if warm else None).run() == Outcome(0)
    recorded = place.until_ended(order.flow_run_id)
    expected = Counter({word: TWICE.get(word, 1) for word in WORDS})
    assert words(spoken(recorded), "word") == expected
    # Prefect sends run loggers' lines to its API, and shows them on the console, too.
    assert words(list(capfd.readouterr()), "word") == expected
    assert ends_with_its_end(recorded)


@pytest.mark.parametrize("way", ["exit", "kill", "fault"])
def test_what_was_said_before_a_process_was_gone_is_recorded_once(
    place: Place, nursery: Nursery, way: str
) -> None:
    order = ordered(place, "says_last", {"way": way}, FILE)
    Supervision(order, nursery).run()
    recorded = place.until_ended(order.flow_run_id)
    assert words(spoken(recorded), "last") == Counter(
        ["last-print", "last-write", "last-subprocess"]
    )
    assert recorded.row["status"] == "error"


def test_code_that_holds_the_interpreter_never_waits_for_its_own_output(
    place: Place, nursery: Nursery
) -> None:
    order = ordered(place, "says_much", {"megabytes": 8}, FILE)
    assert Supervision(order, nursery).run() == Outcome(0)
    recorded = place.until_ended(order.flow_run_id)
    text = "\n".join(spoken(recorded))
    assert text.count("much ") == 13 * ((8 << 20) // 66)
    assert "much-print" in text
    assert ends_with_its_end(recorded)


def test_what_is_said_after_the_run_is_recorded(place: Place, nursery: Nursery) -> None:
    order = ordered(place, "says_late", {}, FILE)
    assert Supervision(order, nursery).run() == Outcome(0)
    recorded = place.until_ended(order.flow_run_id)
    assert words(spoken(recorded), "late") == Counter(
        ["late-print", "late-write", "late-atexit-print", "late-atexit-write"]
    )
    late = [event.payload for event in recorded.events if (event.source or {}).get("late")]
    assert words(late, "late") == words(spoken(recorded), "late")
