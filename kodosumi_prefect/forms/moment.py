"""Fields for dates and times; handlers get ISO 8601 text, as browsers post it."""

import datetime
from typing import Any, ClassVar

from kodosumi_prefect.forms.element import Field, RefusedValueError, Value, json_type

LONGEST = 40  # characters


class _Moment(Field):
    """What dates and times have in common: bounds and a step, all compared as numbers."""

    least: ClassVar[str]
    most: ClassVar[str]
    words: ClassVar[str]

    def _fill(
        self,
        name: str,
        label: str | None,
        value: Any,
        required: bool,
        placeholder: str | None,
        bounds: tuple[Any, Any],
        step: int | None,
        error: list[str] | None,
    ) -> None:
        self.name = name
        self.label = label
        self.value = self.written(value)
        self.required = required
        self.placeholder = placeholder
        setattr(self, self.least, self.written(bounds[0]))
        setattr(self, self.most, self.written(bounds[1]))
        self.step = step
        self.error = error

    def written(self, value: Any) -> Any:
        """A date or time object as the text that HTML has for it."""
        if isinstance(value, datetime.datetime):
            return value.replace(tzinfo=None).isoformat()
        return value.isoformat() if isinstance(value, datetime.date | datetime.time) else value

    def parse(self, posted: Value) -> Any:
        if not isinstance(posted, str):
            raise RefusedValueError(f"must be {self.words}, not {json_type(posted)}")
        posted = posted.strip()
        place = self._place(posted)
        least, most = getattr(self, self.least), getattr(self, self.most)
        start = self._bound(least)
        end = self._bound(most)
        wraps = start is not None and end is not None and start > end and self.type == "time"
        if wraps and end < place < start:  # type: ignore[operator]
            raise RefusedValueError(f"is {posted}; it must be from {least} to {most}")
        if start is not None and place < start and not wraps:
            raise RefusedValueError(f"is {posted}; it must not be before {least}")
        if end is not None and place > end and not wraps:
            raise RefusedValueError(f"is {posted}; it must not be after {most}")
        if self.step and (place - (start or 0)) % self.step:
            raise RefusedValueError(f"is {posted}; it must be on a step of {self.step} seconds")
        return posted

    def _bound(self, written: Any) -> float | None:
        return None if not written else self._place(str(written))

    def _place(self, written: str) -> float:
        """Seconds (days, of a date) by which moments compare."""
        try:
            if len(written) > LONGEST or not written.isascii():
                raise ValueError
            return self.place(written)
        except ValueError:
            raise RefusedValueError(
                f"is {written[:LONGEST]!r}, which is not {self.words}"
            ) from None

    def place(self, written: str) -> float:
        raise NotImplementedError


class InputDate(_Moment):
    """A date, as ``2026-01-31``.

    Arguments:
        min_date, max_date: bounds, as text or ``datetime.date``.
    """

    type: ClassVar[str] = "date"
    attributes: ClassVar[tuple[str, ...]] = (
        "name",
        "label",
        "value",
        "required",
        "placeholder",
        "min_date",
        "max_date",
    )
    least, most, words = "min_date", "max_date", "a date such as 2026-01-31"

    def __init__(
        self,
        name: str,
        label: str | None = None,
        value: str | datetime.date | None = None,
        required: bool = False,
        placeholder: str | None = None,
        min_date: str | datetime.date | None = None,
        max_date: str | datetime.date | None = None,
        error: list[str] | None = None,
    ) -> None:
        self._fill(name, label, value, required, placeholder, (min_date, max_date), None, error)

    def written(self, value: Any) -> Any:
        return super().written(value.date() if isinstance(value, datetime.datetime) else value)

    def place(self, written: str) -> float:
        return datetime.date.fromisoformat(written).toordinal()


class InputTime(_Moment):
    """A time of day, as ``14:30``.

    Arguments:
        min_time, max_time: bounds, as text or ``datetime.time``; they may span midnight.
        step: seconds.
    """

    type: ClassVar[str] = "time"
    attributes: ClassVar[tuple[str, ...]] = (
        "name",
        "label",
        "value",
        "required",
        "placeholder",
        "min_time",
        "max_time",
        "step",
    )
    least, most, words = "min_time", "max_time", "a time such as 14:30"

    def __init__(
        self,
        name: str,
        label: str | None = None,
        value: str | datetime.time | None = None,
        required: bool = False,
        placeholder: str | None = None,
        min_time: str | datetime.time | None = None,
        max_time: str | datetime.time | None = None,
        step: int | None = None,
        error: list[str] | None = None,
    ) -> None:
        self._fill(name, label, value, required, placeholder, (min_time, max_time), step, error)

    def place(self, written: str) -> float:
        read = datetime.time.fromisoformat(written)
        if read.tzinfo is not None:
            raise ValueError
        return read.hour * 3600 + read.minute * 60 + read.second + read.microsecond / 1e6


class InputDateTime(_Moment):
    """A date and a time without a time zone, as ``2026-01-31T14:30``.

    Arguments:
        min_datetime, max_datetime: bounds, as text or ``datetime.datetime``.
        step: seconds.
    """

    type: ClassVar[str] = "datetime-local"
    attributes: ClassVar[tuple[str, ...]] = (
        "name",
        "label",
        "value",
        "required",
        "placeholder",
        "min_datetime",
        "max_datetime",
        "step",
    )
    least, most, words = "min_datetime", "max_datetime", "a date and time such as 2026-01-31T14:30"

    def __init__(
        self,
        name: str,
        label: str | None = None,
        value: str | datetime.datetime | None = None,
        required: bool = False,
        placeholder: str | None = None,
        min_datetime: str | datetime.datetime | None = None,
        max_datetime: str | datetime.datetime | None = None,
        step: int | None = None,
        error: list[str] | None = None,
    ) -> None:
        bounds = (min_datetime, max_datetime)
        self._fill(name, label, value, required, placeholder, bounds, step, error)

    def place(self, written: str) -> float:
        if "T" not in written and " " not in written:
            raise ValueError
        read = datetime.datetime.fromisoformat(written)
        # API clients may say their time zone; the value keeps it, bounds are compared without.
        return (read.replace(tzinfo=None) - datetime.datetime(1970, 1, 1)).total_seconds()
