"""A form: its JSON, and the checked values of what was posted."""

import json
from collections.abc import Iterable, Mapping
from typing import Any, Self

from kodosumi_prefect.forms.choice import Checkbox, InputOption, Select
from kodosumi_prefect.forms.display import (
    HR,
    HTML,
    Action,
    Break,
    Cancel,
    Errors,
    Markdown,
    Submit,
)
from kodosumi_prefect.forms.element import Element, Field, RefusedValueError
from kodosumi_prefect.forms.errors import GENERAL, InputsError
from kodosumi_prefect.forms.files import InputFiles, SentFiles
from kodosumi_prefect.forms.moment import InputDate, InputDateTime, InputTime
from kodosumi_prefect.forms.number import InputNumber
from kodosumi_prefect.forms.text import InputArea, InputPassword, InputText

ELEMENTS: tuple[type[Element], ...] = (
    HTML,
    Break,
    HR,
    Markdown,
    Errors,
    InputText,
    InputPassword,
    InputNumber,
    InputArea,
    InputDate,
    InputTime,
    InputDateTime,
    Checkbox,
    Select,
    InputOption,
    Submit,
    Cancel,
    Action,
    InputFiles,
)
_BY_TYPE = {element.type: element for element in ELEMENTS}


class Model:
    """A form, made of elements in the order people see them.

    Example:
        ```python
        form = Model(
            Markdown("# Say hello"),
            InputText("name", "Name", required=True),
            Submit("Go"),
        )
        form.inputs({"name": "Ada"})  # {"name": "Ada"}
        ```

    Raises:
        TypeError: something that is not an element.
    """

    def __init__(self, *children: Element) -> None:
        for child in children:
            if not isinstance(child, Element):
                raise TypeError(f"a form is made of elements, not of {child!r}")
        self.children = list(children)

    @classmethod
    def from_elements(cls, elements: Iterable[Mapping[str, Any]]) -> Self:
        """The form that ``get_model`` gave, perhaps in another process.

        Raises:
            ValueError: something in it is no element's JSON.
        """
        return cls(*(element_of(each) for each in elements))

    @property
    def fields(self) -> list[Field]:
        """The elements that people fill in."""
        return [child for child in self.children if isinstance(child, Field) and child.name]

    @property
    def secrets(self) -> frozenset[str]:
        """The names of its password fields."""
        passwords = (field for field in self.fields if isinstance(field, InputPassword))
        return frozenset(str(field.name) for field in passwords)

    def secret_values(self, data: Mapping[str, Any]) -> list[str]:
        """What was typed into its password fields, of posted data as ``read`` takes it."""
        values = (self.posted_value(data, name) for name in self.secrets)
        return [value for value in values if isinstance(value, str) and value]

    def sent_files(self, data: Mapping[str, Any]) -> list[SentFiles]:
        """What was chosen in its fields for files, of posted data that ``read`` takes."""
        chosen = (
            field.sent(self.posted_value(data, str(field.name)))
            for field in self.fields
            if isinstance(field, InputFiles)
        )
        return [sent for sent in chosen if sent is not None and sent.names]

    def posted_value(self, data: Mapping[str, Any], name: str) -> Any:
        """What was posted for the field ``name``; None for nothing."""
        return data.get(name)

    def get_model(self) -> list[dict[str, Any]]:
        """Its elements as JSON can hold them."""
        return [child.to_dict() for child in self.children]

    def get_model_json(self) -> str:
        """Its elements as JSON."""
        return json.dumps(self.get_model())

    def inputs(self, data: Mapping[str, Any]) -> dict[str, Any]:
        """What a handler gets for what was posted, which is checked as ``read`` does.

        All of it is as it was posted: a browser's numbers, dates and choices are text, nothing
        filled in is ``""``, and what the form does not have is there too. Checkboxes are True or
        False, and fields that were not posted None, as is ``_global_`` of a form with ``Errors``.

        Arguments:
            data: as JSON or a form body holds it.

        Raises:
            InputsError: as ``read``.
        """
        self.read(data)
        inputs: dict[str, Any] = {}
        for child in self.children:
            if isinstance(child, Errors):
                inputs[GENERAL] = data.get(GENERAL)
            elif isinstance(child, Field) and child.name:
                inputs[child.name] = child.posted(data.get(child.name))
        return inputs | {name: value for name, value in data.items() if name not in inputs}

    def read(self, data: Mapping[str, Any]) -> dict[str, Any]:
        """The value of each field in what was posted, None where nothing was.

        Numbers are ``int`` or ``float``, checkboxes ``bool``, dates and times ISO 8601 text, all
        others text; what the form does not have is left out.

        Arguments:
            data: as JSON or a form body holds it.

        Raises:
            InputsError: with a message for each field that was not filled in as it asks to be.
        """
        errors = InputsError()
        values: dict[str, Any] = {}
        for field in self.fields:
            name = str(field.name)
            if isinstance(field, Action) and values.get(name) is not None:
                continue  # another button of that name was the one
            try:
                values[name] = field.read(data.get(name))
            except RefusedValueError as refused:
                errors.add(**{name: str(refused)})
        if errors:
            raise errors
        return values


def element_of(description: Mapping[str, Any]) -> Element:
    """The element that some JSON describes; keys that it does not know are left out.

    Raises:
        ValueError: it describes none.
    """
    kind = _BY_TYPE.get(description.get("type", "")) if isinstance(description, Mapping) else None
    if kind is None:
        raise ValueError(f"{str(description)[:100]!r} is not an element of a form")
    names = (*kind.attributes, *kind.further)
    known = {name: description[name] for name in names if name in description}
    if kind in (Break, HR):
        return kind()
    if kind is Select:
        options = description.get("option")
        known["option"] = [element_of(entry) for entry in options or ()]
    try:
        element = kind(**known)
        if isinstance(element, Field) and isinstance(description.get("help"), str):
            element.help = description["help"]
        return element
    except TypeError as exc:
        raise ValueError(f"{str(description)[:100]!r} is not an element of a form: {exc}") from None
