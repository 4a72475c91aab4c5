"""Fields to choose in."""

from collections.abc import Sequence
from typing import Any, ClassVar

from kodosumi_prefect.forms.element import Element, Field, RefusedValueError, Value, text


class Checkbox(Field):
    """A box to tick; handlers get True or False.

    Arguments:
        option: the text beside the box.
    """

    type: ClassVar[str] = "boolean"
    attributes: ClassVar[tuple[str, ...]] = ("name", "label", "value", "option")

    def __init__(
        self,
        name: str,
        option: str | None = None,
        label: str | None = None,
        value: bool = False,
        error: list[str] | None = None,
    ) -> None:
        self.name = name
        self.option = option or "on"
        self.label = label
        self.value = value
        self.error = error

    def read(self, posted: Value) -> Any:
        return posted is True or posted == "on"

    def posted(self, posted: Value) -> Any:
        return self.read(posted)


class InputOption(Element):
    """One of the things to choose in a ``Select``.

    Arguments:
        name: what is posted when it is chosen.
        label: what people read.
        value: whether it is chosen at first.
    """

    type: ClassVar[str] = "option"
    attributes: ClassVar[tuple[str, ...]] = ("name", "label", "value")

    def __init__(
        self,
        name: str | None = None,
        label: str | None = None,
        value: bool | None = False,
        error: list[str] | None = None,
    ) -> None:
        self.name = name
        self.label = label
        self.value = bool(value)
        self.error = error


class Select(Field):
    """A choice of one among several; handlers get the name of the option chosen.

    Arguments:
        option: what there is to choose.
        value: name of the option chosen at first.
    """

    type: ClassVar[str] = "select"
    attributes: ClassVar[tuple[str, ...]] = ("name", "label", "value", "option", "error")

    def __init__(
        self,
        name: str,
        option: Sequence[InputOption],
        label: str | None = None,
        value: str | None = None,
        error: list[str] | None = None,
    ) -> None:
        for entry in option:
            if not isinstance(entry, InputOption):
                raise TypeError(f"Select {name!r} takes a list of InputOption, not {entry!r}")
        self.name = name
        self.option = list(option)
        self.label = label
        self.value = value
        self.error = error

    def to_dict(self) -> dict[str, Any]:
        return super().to_dict() | {"option": [option.to_dict() for option in self.option]}

    def read(self, posted: Value) -> Any:
        names = {option.name for option in self.option}
        if posted is None or (posted == "" and "" not in names):
            return self.nothing(posted)
        posted = text(posted)
        if posted not in names:
            raise RefusedValueError(f"is {posted[:40]!r}, which is not one of the options")
        return posted
