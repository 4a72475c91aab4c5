"""The elements of forms, and the error of a value that cannot be read."""

from collections.abc import Mapping
from typing import Any, ClassVar

Value = Any  # what JSON or a form body holds for one field


class RefusedError(ValueError):
    """A posted value that an element does not take; the message is for people."""


class Element:
    """One part of a form.

    Attributes:
        type: its name in JSON.
        shown: the attributes that are its JSON, in their order.
    """

    type: ClassVar[str]
    shown: ClassVar[tuple[str, ...]] = ()

    def to_dict(self) -> dict[str, Any]:
        """Its JSON."""
        return {"type": self.type} | {name: getattr(self, name) for name in self.shown}

    def __repr__(self) -> str:
        parts = ", ".join(f"{name}={getattr(self, name)!r}" for name in self.shown)
        return f"{type(self).__name__}({parts})"


class Field(Element):
    """An element that people fill in.

    Attributes:
        name: the key of its value.
        label: what people read; the name if there is none.
        value: what it is filled with at first.
        required: whether it must not be left empty.
        error: messages shown beside it.
    """

    name: str | None
    label: str | None
    value: Any
    required: bool = False
    error: list[str] | None = None

    def read(self, given: Value) -> Any:
        """The value that a handler gets for what was posted; None stands for nothing.

        Raises:
            RefusedError: it is not one that this element takes.
        """
        if empty(given):
            if self.required:
                raise RefusedError("is required")
            return self.nothing(given)
        return self.parse(given)

    def nothing(self, given: Value) -> Any:
        """The value of a field that was left empty."""
        return None

    def parse(self, given: Value) -> Any:
        """The value of a field that was filled in."""
        return given


def empty(given: Value) -> bool:
    """Whether nothing was filled in."""
    return given is None or given == ""


def text(given: Value) -> str:
    """``given`` if it is text that can be kept.

    Raises:
        RefusedError: it is something else, or contains invalid characters.
    """
    if isinstance(given, int | float) and not isinstance(given, bool):
        given = str(given)
    if not isinstance(given, str):
        raise RefusedError(f"must be text, not {kind_of(given)}")
    if "\0" in given:
        raise RefusedError("contains a NUL character, which text cannot hold")
    try:
        given.encode()
    except UnicodeEncodeError:
        raise RefusedError("contains half a character (a lone surrogate)") from None
    return given


def kind_of(given: Value) -> str:
    """What people call the JSON type of a value."""
    match given:
        case None:
            return "nothing"
        case bool():
            return "yes or no"
        case int() | float():
            return "a number"
        case str():
            return "text"
    return "an object" if isinstance(given, Mapping) else "a list"
