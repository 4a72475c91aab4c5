"""A field for numbers."""

import math
import re
from fractions import Fraction
from typing import Any, ClassVar

from kodosumi_prefect.forms.element import Field, RefusedValueError, Value, json_type

LONGEST = 300  # characters of a number that somebody could mean
_NUMBER = re.compile(r"[+-]?(\d+(\.\d*)?|\.\d+)([eE][+-]?\d{1,4})?", re.ASCII)


class InputNumber(Field):
    """A number; its value is an ``int`` if it was written as one, else a ``float``.

    Handlers get it as it was posted, by browsers as text.

    Arguments:
        min_value, max_value: bounds, both allowed themselves.
        step: distance of allowed values, from ``min_value`` or zero; any if None.
        size, pattern: as in HTML, where numbers ignore both.
    """

    type: ClassVar[str] = "number"
    attributes: ClassVar[tuple[str, ...]] = (
        "name",
        "label",
        "value",
        "required",
        "placeholder",
        "size",
        "pattern",
        "min_value",
        "max_value",
        "step",
    )

    def __init__(
        self,
        name: str,
        label: str | None = None,
        value: str | float | None = None,
        required: bool = False,
        placeholder: str | None = None,
        size: int | None = None,
        pattern: str | None = None,
        min_value: float | None = None,
        max_value: float | None = None,
        step: float | None = None,
        error: list[str] | None = None,
    ) -> None:
        self.name = name
        self.label = label
        self.value = value
        self.required = required
        self.placeholder = placeholder
        self.size = size
        self.pattern = pattern
        self.min_value = min_value
        self.max_value = max_value
        self.step = step
        self.error = error

    def parse(self, posted: Value) -> Any:
        number = read_number(posted)
        if self.min_value is not None and number < self.min_value:
            raise RefusedValueError(f"is {number:.12g}; at least {self.min_value:.12g} is needed")
        if self.max_value is not None and number > self.max_value:
            raise RefusedValueError(f"is {number:.12g}; at most {self.max_value:.12g} is allowed")
        if self.step is not None and not on_step(number, self.step, self.min_value or 0):
            raise RefusedValueError(
                f"is {number:.12g}; it must be {self.min_value or 0:.12g} plus a multiple of "
                f"{self.step:.12g}"
            )
        return number


def read_number(posted: Value) -> int | float:
    """The number that was posted, as JSON number or as text.

    Raises:
        RefusedError: it is none, or too long to be meant.
    """
    if isinstance(posted, str):
        written = posted.strip()
        if len(written) > LONGEST or not _NUMBER.fullmatch(written):
            raise RefusedValueError(f"is {written[:40]!r}, which is not a number")
        whole = written.lstrip("+-").isdecimal()
        posted = int(written) if whole else float(written)
    if isinstance(posted, bool) or not isinstance(posted, int | float):
        raise RefusedValueError(f"must be a number, not {json_type(posted)}")
    if isinstance(posted, float) and not math.isfinite(posted):
        raise RefusedValueError("is not a finite number")
    if isinstance(posted, int) and posted.bit_length() > 1000:
        raise RefusedValueError("has too many digits")
    return posted


def on_step(number: float, step: float, base: float) -> bool:
    """Whether ``number`` is ``base`` plus a multiple of ``step``, counted in decimals."""
    if step <= 0:
        return True
    # Through their decimal notation: 0.3 is three steps of 0.1, other than in binary.
    distance = Fraction(repr(number)) - Fraction(repr(base))
    return (distance / Fraction(repr(step))).denominator == 1
