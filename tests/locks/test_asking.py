"""What authors may say of whom they ask, as it is read at their call."""

import math
from datetime import timedelta
from typing import Any

import pytest
from pydantic import BaseModel

from kodosumi_prefect.events import serialize
from kodosumi_prefect.locks.asking import Asking, Escalation
from kodosumi_prefect.spooler.open_locks import new_lock


class Approval(BaseModel):
    approved: bool = False


def test_people_and_times_are_read_as_authors_write_them() -> None:
    asking = Asking.of(
        "approve",
        ask=["owner", "Team:Legal", "Ann", "ann"],
        remind=["1h30m", 60, timedelta(hours=4)],
        escalate=("8h", "team:lead"),
        quorum=2,
        on_expiry=Approval(),
        link=True,
    )
    assert asking.ask == ("owner", "team:legal", "ann")
    assert asking.remind == (60.0, 5400.0, 14400.0)
    assert asking.escalate == (Escalation(28800.0, ("team:lead",)),)
    assert asking.fields == {
        "ask": ["owner", "team:legal", "ann"],
        "remind": [60.0, 5400.0, 14400.0],
        "escalate": [{"after": 28800.0, "to": ["team:lead"]}],
        "quorum": 2,
        "on_expiry": {"approved": False},
        "link": True,
    }
    assert Asking.of("approve", remind="4h").remind == (14400.0,)
    assert Asking.of("approve", escalate=[("1d", ["a", "b"]), ("1h", "c")]).escalate == (
        Escalation(3600.0, ("c",)),
        Escalation(86400.0, ("a", "b")),
    )


def test_a_question_without_any_of_it_says_nothing_of_people() -> None:
    assert Asking.of("approve").fields == {}
    assert Asking.of("approve").timeout("approve", None) == 3 * 3600


def test_a_question_stays_open_for_three_hours_behind_its_last_step() -> None:
    asking = Asking.of("approve", remind="4h", escalate=("8h", "team:lead"))
    assert asking.timeout("approve", None) == 11 * 3600
    assert asking.timeout("approve", 9 * 3600) == 9 * 3600
    with pytest.raises(ValueError, match="nothing can follow after 28800 seconds"):
        asking.timeout("approve", 3600)
    for endless in (math.inf, math.nan, 1e11):
        with pytest.raises(ValueError, match="give seconds"):
            Asking.of("approve").timeout("approve", endless)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"ask": 3}, "ask is 3; give 'owner', 'team:<name>'"),
        ({"ask": []}, "ask names 0; give 1 to 50"),
        ({"ask": ["team:"]}, "ask has 'team:' in it"),
        ({"ask": [None]}, "ask has None in it"),
        ({"remind": "soon"}, "remind: 'soon' is no time; give seconds, or such as '4h'"),
        ({"remind": 0}, "remind: 0 is not between 0 and a year"),
        ({"remind": True}, "remind: True is no time"),
        ({"escalate": "8h"}, "escalate is 8h; give a time and who is asked then"),
        ({"escalate": ("8h",)}, "give a time and who is asked then"),
        ({"escalate": ("8h", 5)}, "escalate is 5; give 'owner'"),
        ({"quorum": 0}, "quorum is 0; give 1 to 50"),
        ({"quorum": "2"}, "quorum is 2; give a whole number"),
        ({"on_expiry": object()}, "give JSON types"),
        ({"on_expiry": ValueError}, "give JSON types"),
        ({"link": "yes"}, "link is yes; give True or False"),
        ({"reminder": "4h"}, "there is no argument 'reminder'"),
    ],
)
def test_what_is_wrong_is_said_in_one_line_where_the_author_calls(
    options: dict[str, Any], message: str
) -> None:
    with pytest.raises((TypeError, ValueError)) as raised:
        Asking.of("approve", **options)
    text = str(raised.value)
    assert text.startswith("tracer.lock('approve'): ")
    assert message in text
    assert "\n" not in text


def test_at_the_deadline_the_run_gets_the_value_or_the_error() -> None:
    late = TimeoutError("late")
    assert Asking.of("approve", on_expiry=None).at_deadline(late) is None
    assert Asking.of("approve", on_expiry=Approval()).at_deadline(late) == Approval()
    with pytest.raises(TimeoutError, match="late"):
        Asking.of("approve").at_deadline(late)


def test_of_several_people_the_author_gets_a_list() -> None:
    assert Asking.of("approve", quorum=2).read([1, 2], str) == ["1", "2"]
    assert Asking.of("approve").read([1, 2], str) == "[1, 2]"


def test_what_is_odd_in_an_event_counts_as_not_given() -> None:
    told: dict[str, Any] = {"name": "a", "lid": "a", "expires": 2.0}
    told |= {"ask": ["x" * 300, 4, "ann"], "remind": [-1, "1h", 60], "quorum": 1e9, "link": 1}
    told |= {"escalate": [{"after": 1, "to": []}, 7, {"after": 5, "to": ["bob"]}]}
    lock = new_lock(serialize(told), 1.0, 1)
    assert lock is not None
    assert lock.people is not None
    assert (lock.people.asked, lock.people.quorum, lock.people.link) == (["ann"], 1, False)
    assert lock.people.plan == (
        '[{"step": "asked", "number": 0, "after": 0, "recipients": ["ann"]}, '
        '{"step": "reminded", "number": 2, "after": 60, "recipients": []}, '
        '{"step": "escalated", "number": 2, "after": 5, "recipients": ["bob"]}]'
    )
    plain = new_lock(serialize({"name": "a", "lid": "a", "expires": 2.0}), 1.0, 1)
    assert plain is not None
    assert plain.people is None
