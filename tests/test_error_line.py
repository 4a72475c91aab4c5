"""What an error is in one line, from the exception and from its traceback's text."""

import traceback
from collections.abc import Callable

import pytest
from pydantic import BaseModel

from kodosumi_prefect.error import KodosumiError
from kodosumi_prefect.error_line import MAX_LINE, error_line, line_of


class Order(BaseModel):
    count: int


def raised(cause: Callable[[], object]) -> BaseException:
    try:
        cause()
    except BaseException as exc:
        return exc
    raise AssertionError("nothing was raised")


def rising(error: BaseException) -> Callable[[], object]:
    def rise() -> None:
        raise error

    return rise


def noted() -> None:
    error = ValueError("no such order")
    error.add_note("while reading the list\nof orders")
    raise error


def grouped() -> None:
    leaves = [raised(noted), raised(rising(KeyError("x"))), ValueError("never raised")]
    inner = ExceptionGroup("inner", [OSError("one:\n two"), TypeError("three\nmore")])
    raise ExceptionGroup("several went wrong", [*leaves, inner])


def chained(first: Callable[[], object], then: Callable[[], object]) -> Callable[[], object]:
    def rise() -> None:
        try:
            first()
        except Exception:
            then()

    return rise


LEAVES = (
    "ValueError: no such order; KeyError: 'x'; ValueError: never raised; OSError: one: two; "
    "TypeError: three"
)
ERRORS: dict[str, tuple[Callable[[], object], str]] = {
    "plain": (rising(ValueError("no")), "ValueError: no"),
    "without words": (rising(RuntimeError()), "RuntimeError"),
    "with notes": (noted, "ValueError: no such order"),
    "pydantic": (
        lambda: Order.model_validate({"count": "many"}),
        "pydantic_core._pydantic_core.ValidationError: 1 validation error for Order",
    ),
    "several lines": (rising(ValueError("first\nsecond")), "ValueError: first"),
    "late words": (rising(ValueError("\n\n  late")), "ValueError: late"),
    "a heading": (rising(ValueError("got:\n - n: bad\n - m: bad")), "ValueError: got: - n: bad"),
    "syntax": (lambda: compile("a b", "x.py", "exec"), "SyntaxError: invalid syntax"),
    "group": (grouped, LEAVES),
    "after a group": (chained(grouped, rising(OSError("at last"))), "OSError: at last"),
    "group after another": (chained(noted, grouped), LEAVES),
}


@pytest.mark.parametrize(("cause", "line"), ERRORS.values(), ids=ERRORS.keys())
def test_an_error_is_told_by_type_and_message(cause: Callable[[], object], line: str) -> None:
    error = raised(cause)
    assert error_line(error) == line
    assert line_of("".join(traceback.format_exception(error)).rstrip()) == line


def test_an_error_for_people_is_told_by_its_message_alone() -> None:
    error = KodosumiError("the list is empty")
    error.add_note("a note")
    assert error_line(error) == "the list is empty"


def test_a_big_group_names_some_and_counts_the_rest() -> None:
    group = ExceptionGroup("many", [ValueError(f"{n}") for n in range(8)] * 2)
    assert error_line(group).endswith("ValueError: 4; and 3 more")


def test_what_ray_wraps_is_told_by_the_error_in_it() -> None:
    from ray.exceptions import RayTaskError

    wrapped = RayTaskError("f", "ray::f()\n  File x\nValueError: no\n", ValueError("no"))
    error = wrapped.as_instanceof_cause()
    assert error_line(error) == "ValueError: no"
    assert line_of("".join(traceback.format_exception(raised(rising(error))))) == "ValueError: no"


def test_an_error_whose_text_raises_or_is_long_is_one_line_all_the_same() -> None:
    class SilentError(Exception):
        def __str__(self) -> str:
            raise RuntimeError

    assert "\n" not in error_line(SilentError())
    assert len(error_line(ValueError("x" * 10_000))) == MAX_LINE


def test_other_texts_are_told_by_their_last_line() -> None:
    assert line_of("Flow run failed\nfor no reason\n\n") == "for no reason"
    assert line_of("") == ""
