"""The pauses before something that died is started again."""

import pytest

from kodosumi_prefect.stack.restarts import LAST, STEADY, Restarts


class Clock:
    """Seconds that pass when a test says so."""

    def __init__(self) -> None:
        self.now = 1000.0

    def __call__(self) -> float:
        return self.now


@pytest.fixture
def clock() -> Clock:
    return Clock()


def deaths(restarts: Restarts, clock: Clock, number: int, lived: float) -> list[float]:
    """The pauses of a service that each time serves for some seconds, then dies."""
    pauses = []
    for _ in range(number):
        restarts.served()
        clock.now += lived
        pauses.append(restarts.died())
        clock.now += pauses[-1]
    return pauses


def test_seven_kills_in_four_minutes_keep_nobody_waiting_for_long(clock: Clock) -> None:
    restarts = Restarts(clock)
    pauses = deaths(restarts, clock, 7, lived=34)
    assert pauses[:3] == [0.5, 0.5, 0.5]
    assert max(pauses) <= 10


def test_the_pause_grows_up_to_a_minute_and_never_ends_the_starts(clock: Clock) -> None:
    restarts = Restarts(clock)
    pauses = deaths(restarts, clock, 2000, lived=1)
    assert pauses == sorted(pauses)
    assert pauses[-1] == LAST


def test_a_steady_minute_makes_the_pause_short_again(clock: Clock) -> None:
    restarts = Restarts(clock)
    deaths(restarts, clock, 20, lived=1)
    assert deaths(restarts, clock, 1, lived=STEADY) == [0.5]


def test_a_minute_without_service_is_no_steady_one(clock: Clock) -> None:
    restarts = Restarts(clock)
    longest = deaths(restarts, clock, 20, lived=1)[-1]
    clock.now += 10 * STEADY  # a start that took long, and failed
    assert restarts.died() == longest


def test_it_says_how_often_within_an_hour(clock: Clock) -> None:
    restarts = Restarts(clock)
    restarts.died()
    assert restarts.often == ""
    clock.now += 1800
    restarts.died()
    restarts.died()
    assert restarts.often == "3 times within an hour"
    clock.now += 1801
    restarts.died()
    assert restarts.often == "3 times within an hour"
