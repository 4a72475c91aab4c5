"""Growing pauses between tries."""

import pytest

from kodosumi_prefect.backoff import Backoff


def test_pauses_double_up_to_the_longest() -> None:
    backoff = Backoff(0.5, 3.0)
    assert [backoff.next() for _ in range(5)] == [0.5, 1.0, 2.0, 3.0, 3.0]
    assert backoff.failures == 5


def test_once_it_works_the_pauses_begin_anew() -> None:
    backoff = Backoff(0.5, 3.0)
    backoff.next()
    assert (backoff.pause, backoff.failures) == (1.0, 1)
    backoff.reset()
    assert (backoff.pause, backoff.failures) == (0.5, 0)


def test_looking_at_the_next_pause_changes_nothing() -> None:
    backoff = Backoff(0.5, 3.0)
    assert [backoff.pause, backoff.pause, backoff.next()] == [0.5, 0.5, 0.5]


def test_a_million_failures_do_not_overflow() -> None:
    backoff = Backoff(0.5, 60.0)
    for _ in range(1_000_000):
        backoff.next()
    assert backoff.next() == 60.0


def test_jitter_varies_a_pause_by_its_part_and_does_not_add_up() -> None:
    pauses = []
    for _ in range(200):
        backoff = Backoff(1.0, 2.0, jitter=0.2)
        pauses.append((backoff.next(), backoff.next(), backoff.next()))
    for first, second, third in pauses:
        assert 0.8 <= first <= 1.2
        assert 1.6 <= second <= 2.4
        assert 1.6 <= third <= 2.4
    assert len({first for first, _, _ in pauses}) > 1


async def test_sleeping_counts_as_a_failure() -> None:
    backoff = Backoff(0.001, 1.0)
    await backoff.sleep()
    assert backoff.pause == pytest.approx(0.002)
