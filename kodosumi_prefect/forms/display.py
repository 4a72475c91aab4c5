"""Elements that show something or act, and hold no value."""

from typing import Any, ClassVar

from kodosumi_prefect.forms.element import Element, Field, RefusedValueError, Value


class HTML(Element):
    """A piece of HTML; sanitised where it is shown."""

    type: ClassVar[str] = "html"
    attributes: ClassVar[tuple[str, ...]] = ("text",)

    def __init__(self, text: str | None = None) -> None:
        self.text = text


class Break(HTML):
    """Some space."""

    type: ClassVar[str] = "break"

    def __init__(self, *_args: Any, **_kwargs: Any) -> None:
        # Classes that the style sheet of Kodosumi's own clients knows.
        super().__init__('<div class="space"></div>')


class HR(HTML):
    """A line."""

    type: ClassVar[str] = "hr"

    def __init__(self, *_args: Any, **_kwargs: Any) -> None:
        super().__init__('<hr class="medium"/>')


class Markdown(Element):
    """A piece of markdown."""

    type: ClassVar[str] = "markdown"
    attributes: ClassVar[tuple[str, ...]] = ("text",)

    def __init__(self, text: str) -> None:
        self.text = text


class Errors(Element):
    """Where messages that belong to no field are shown."""

    type: ClassVar[str] = "errors"

    def __init__(self, error: list[str] | None = None) -> None:
        self.error = error


class Submit(Element):
    """The button that sends the form."""

    type: ClassVar[str] = "submit"
    attributes: ClassVar[tuple[str, ...]] = ("text",)

    def __init__(self, text: str, error: list[str] | None = None) -> None:
        self.text = text
        self.error = error


class Cancel(Element):
    """The button that leaves the form."""

    type: ClassVar[str] = "cancel"
    attributes: ClassVar[tuple[str, ...]] = ("text",)

    def __init__(self, text: str, error: list[str] | None = None) -> None:
        self.text = text
        self.error = error


class Action(Field):
    """A further button that sends the form, with a value that says which it was."""

    type: ClassVar[str] = "action"
    attributes: ClassVar[tuple[str, ...]] = ("name", "value", "text")

    def __init__(
        self,
        name: str | None = None,
        value: str | None = None,
        required: bool = False,
        text: str | None = None,
        error: list[str] | None = None,
    ) -> None:
        self.name = name
        self.value = value
        self.required = required
        self.text = text
        self.label = text
        self.error = error

    def parse(self, posted: Value) -> Any:
        if not isinstance(posted, str):
            raise RefusedValueError("must be the value of a button")
        return posted
