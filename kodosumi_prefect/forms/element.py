"""The elements of forms, and the error of a value that cannot be read."""

from collections.abc import Mapping
from typing import Any, ClassVar

Value = Any  # what JSON or a form body holds for one field


class RefusedValueError(ValueError):
    """A posted value that an element does not take; the message is for people."""


class Element:
    """One part of a form.

    Attributes:
        type: its name in JSON.
        attributes: those that are its JSON, in their order.
        further: those that are in its JSON only if they are set; Kodosumi does not have them.
    """

    type: ClassVar[str]
    attributes: ClassVar[tuple[str, ...]] = ()
    further: ClassVar[tuple[str, ...]] = ()

    def to_dict(self) -> dict[str, Any]:
        """Its JSON."""
        own = {name: getattr(self, name) for name in self.attributes}
        more = {name: getattr(self, name) for name in self.further}
        return (
            {"type": self.type}
            | own
            | {name: value for name, value in more.items() if value is not None}
        )

    def __repr__(self) -> str:
        parts = ", ".join(f"{name}={getattr(self, name)!r}" for name in self.attributes)
        return f"{type(self).__name__}({parts})"


class Field(Element):
    """An element that people fill in.

    Attributes:
        name: the key of its value.
        label: what people read; the name if there is none.
        value: what it is filled with at first.
        required: whether it must not be left empty.
        error: messages shown beside it.
        help: what to know to fill it in, below its label; in its JSON only if there is one.
    """

    name: str | None
    label: str | None
    value: Any
    required: bool = False
    error: list[str] | None = None
    help: str | None = None

    def to_dict(self) -> dict[str, Any]:
        return super().to_dict() | ({} if self.help is None else {"help": self.help})

    def posted(self, posted: Value) -> Any:
        """What a handler gets for what was posted: that itself."""
        return posted

    def read(self, posted: Value) -> Any:
        """The value of what was posted, by the element's type; None stands for nothing.

        Raises:
            RefusedError: it is not one that this element takes.
        """
        if empty(posted):
            if self.required:
                raise RefusedValueError("is required")
            return self.nothing(posted)
        return self.parse(posted)

    def nothing(self, posted: Value) -> Any:
        """The value of a field that was left empty."""
        return None

    def parse(self, posted: Value) -> Any:
        """The value of a field that was filled in."""
        return posted


def empty(posted: Value) -> bool:
    """Whether nothing was filled in."""
    return posted is None or posted == ""


def text(posted: Value) -> str:
    """``posted`` if it is text that can be kept.

    Raises:
        RefusedError: it is something else, or contains invalid characters.
    """
    if isinstance(posted, int | float) and not isinstance(posted, bool):
        posted = str(posted)
    if not isinstance(posted, str):
        raise RefusedValueError(f"must be text, not {json_type(posted)}")
    if "\0" in posted:
        raise RefusedValueError("contains a NUL character, which text cannot hold")
    try:
        posted.encode()
    except UnicodeEncodeError:
        raise RefusedValueError("contains half a character (a lone surrogate)") from None
    return posted


def json_type(posted: Value) -> str:
    """What people call the JSON type of a value."""
    match posted:
        case None:
            return "nothing"
        case bool():
            return "yes or no"
        case int() | float():
            return "a number"
        case str():
            return "text"
    return "an object" if isinstance(posted, Mapping) else "a list"
