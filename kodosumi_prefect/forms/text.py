"""Fields for text."""

from typing import Any, ClassVar

from kodosumi_prefect.forms.element import Field, RefusedValueError, Value, text
from kodosumi_prefect.forms.pattern import fits


class InputText(Field):
    """A line of text.

    Arguments:
        size: characters wide.
        pattern: regular expression that all of the text must match, as in HTML.
    """

    type: ClassVar[str] = "text"
    attributes: ClassVar[tuple[str, ...]] = (
        "name",
        "label",
        "value",
        "required",
        "placeholder",
        "size",
        "pattern",
    )

    def __init__(
        self,
        name: str,
        label: str | None = None,
        value: str | None = None,
        required: bool = False,
        placeholder: str | None = None,
        size: int | None = None,
        pattern: str | None = None,
        error: list[str] | None = None,
    ) -> None:
        self.name = name
        self.label = label
        self.value = value
        self.required = required
        self.placeholder = placeholder
        self.size = size
        self.pattern = pattern
        self.error = error

    def nothing(self, posted: Value) -> Any:
        return posted  # "" stays "", as Kodosumi has it

    def parse(self, posted: Value) -> Any:
        posted = text(posted)
        if self.pattern and not fits(self.pattern, posted):
            raise RefusedValueError(f"does not match the pattern {self.pattern}")
        return posted


class InputPassword(InputText):
    """A secret: kept encrypted, shown nowhere.

    Arguments:
        min_length, max_length: in characters.
    """

    type: ClassVar[str] = "password"
    attributes: ClassVar[tuple[str, ...]] = (*InputText.attributes, "min_length", "max_length")

    def __init__(
        self,
        name: str,
        label: str | None = None,
        value: str | None = None,
        required: bool = False,
        placeholder: str | None = None,
        size: int | None = None,
        pattern: str | None = None,
        min_length: int | None = None,
        max_length: int | None = None,
        error: list[str] | None = None,
    ) -> None:
        super().__init__(name, label, value, required, placeholder, size, pattern, error)
        self.min_length = min_length
        self.max_length = max_length

    def parse(self, posted: Value) -> Any:
        posted = text(posted)
        check_length(posted, self.min_length, self.max_length)
        if self.pattern and not fits(self.pattern, posted):
            raise RefusedValueError(
                "does not match the pattern asked for"
            )  # nor say what was tried
        return posted


class InputArea(Field):
    """Several lines of text.

    Arguments:
        rows, cols: its size in characters.
        max_length: in characters.
    """

    type: ClassVar[str] = "textarea"
    attributes: ClassVar[tuple[str, ...]] = (
        "name",
        "label",
        "value",
        "required",
        "placeholder",
        "rows",
        "cols",
        "max_length",
    )

    def __init__(
        self,
        name: str,
        label: str | None = None,
        value: str | None = None,
        required: bool = False,
        placeholder: str | None = None,
        rows: int | None = None,
        cols: int | None = None,
        max_length: int | None = None,
        error: list[str] | None = None,
    ) -> None:
        self.name = name
        self.label = label
        self.value = value
        self.required = required
        self.placeholder = placeholder
        self.rows = rows
        self.cols = cols
        self.max_length = max_length
        self.error = error

    def nothing(self, posted: Value) -> Any:
        return posted

    def parse(self, posted: Value) -> Any:
        posted = text(posted)
        check_length(posted, None, self.max_length)
        return posted


def check_length(text: str, shortest: int | None, longest: int | None) -> None:
    """Refuse text that a browser would refuse for its length.

    Browsers count UTF-16 units and a line break as one.
    """
    length = len(text.replace("\r\n", "\n").encode("utf-16-le")) // 2
    if shortest is not None and length < shortest:
        raise RefusedValueError(f"has {length} characters; at least {shortest} are needed")
    if longest is not None and length > longest:
        raise RefusedValueError(f"has {length} characters; at most {longest} are allowed")
