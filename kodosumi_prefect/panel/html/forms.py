"""Forms as HTML: accessible, without scripts, safe whatever a service put into them."""

import json
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from markupsafe import Markup

from kodosumi_prefect.forms import (
    HTML,
    Checkbox,
    Element,
    Field,
    InputFiles,
    InputPassword,
    Markdown,
    Select,
)
from kodosumi_prefect.forms.errors import GENERAL
from kodosumi_prefect.forms.model import element_of
from kodosumi_prefect.panel.html.markdown import markdown
from kodosumi_prefect.panel.html.sanitise import sanitise
from kodosumi_prefect.panel.web.templating import templates

# Before each field's name in HTML: a browser finds the fields of a form as properties of the form,
# in place of its own, so that one called `getAttribute` or `submit` would break all scripts.
FIELD = "field."
# As above, of what browsers without scripts send for a field of files: the files themselves, of a
# field for one or for several, and names of those that are not to go along after all.
ONE_FILE = "file."
SOME_FILES = "files."
LEFT_OUT = "leave-out."
_UNKNOWN = "<p><em>The panel does not know what this part of the form is.</em></p>"
Messages = Mapping[str, Sequence[str]]


def form_html(
    elements: Iterable[Mapping[str, Any]],
    errors: Messages | None = None,
    values: Mapping[str, Any] | None = None,
    *,
    submit: str = "Submit",
    leave: str = ".",
    prefix: str = "field",
) -> Markup:
    """What stands between ``<form method="post">`` and ``</form>``.

    Arguments:
        elements: of the form, as its service gave them.
        errors: messages by field; those of no field under ``_global_``, or under names that the
            form does not have, are shown together.
        values: what was filled in, to be shown again; passwords are not.
        submit: the button's text, if the form has none.
        leave: URL that a ``Cancel`` leads to.
        prefix: what the ids of its fields begin with; another one for each form of a page.
    """
    read = [_read(described) for described in elements]
    errors = errors or {}
    parts = [_part(each, f"{prefix}-{number}", errors, values) for number, each in enumerate(read)]
    names = {str(each.name) for each in read if isinstance(each, Field)}
    failures = [
        message if name == GENERAL else f"{name}: {message}"
        for name, messages in errors.items()
        if name not in names
        for message in messages
    ]
    kinds = [part["type"] for part in parts]
    return Markup(
        templates()
        .get_template("_form.html")
        .render(
            parts=parts,
            failures=failures,
            placed="errors" in kinds,
            submit=None if "submit" in kinds else submit,
            field=FIELD,
            file_names=(ONE_FILE, SOME_FILES),
            left_out=LEFT_OUT,
            leave=leave,
        )
    )


def takes_files(elements: Iterable[Mapping[str, Any]]) -> bool:
    """Whether a form has to be ``multipart/form-data``, as files are."""
    return any(each.get("type") == InputFiles.type for each in elements)


def own_names(posted: Mapping[str, Any]) -> dict[str, Any]:
    """What a form of ours posted, by the names that its fields have to their service.

    Programs post them as they are.
    """
    if not all(name.startswith(FIELD) for name in posted):
        return dict(posted)
    return {name.removeprefix(FIELD): value for name, value in posted.items()}


def _read(described: Mapping[str, Any]) -> Element:
    """The element; a note in place of what a newer or broken service sent."""
    try:
        return element_of(described)
    except (ValueError, TypeError):
        return HTML(
            "<p><em>This part of the form is of a kind that the panel does not know.</em></p>"
        )


def _part(
    element: Element, id_: str, errors: Messages, values: Mapping[str, Any] | None
) -> dict[str, Any]:
    """What the template needs of one element."""
    part: dict[str, Any] = element.to_dict() | {"id": id_}
    if isinstance(element, Markdown):
        return part | {"html": Markup(markdown(str(element.text or "")))}
    if element.type == "html":
        return part | {"html": Markup(sanitise(str(part["text"] or "")))}
    if not isinstance(element, Field):
        return part
    name = str(element.name)
    messages = [*(element.error or ()), *errors.get(name, ())]
    described = [f"{part['id']}-help"] if element.help else []
    described += [f"{part['id']}-wrong"] if messages else []
    return part | {
        "label": element.label if element.label is not None else name,
        "required": element.required,
        "help": element.help,
        "messages": messages,
        "described": " ".join(described),
        "filled": _filled(element, name, values),
        "chosen": _chosen(element, name, values),
        "option": _option(element, name, values),
    }


def _filled(element: Field, name: str, values: Mapping[str, Any] | None) -> Any:
    """What the field shows: what was filled in, else its first value."""
    if isinstance(element, InputPassword):
        return None
    if isinstance(element, InputFiles):
        posted = (values or {}).get(name)
        return posted if _chosen(element, name, values) else None
    if isinstance(element, Checkbox):
        return element.value is True if values is None else element.read(values.get(name))
    if values is not None and name in values:
        return values[name]
    return element.value


def _chosen(element: Field, name: str, values: Mapping[str, Any] | None) -> list[str]:
    """The files that were uploaded for the field before; they need not be chosen again."""
    if not isinstance(element, InputFiles) or not values:
        return []
    try:
        known = json.loads(values.get(name) or "{}")
        names = [str(item["filename"]) for item in known.get("items", {}).values()]
        return names + [str(each) for each in known.get("again", {}).get("names", ())]
    except (ValueError, TypeError, KeyError, AttributeError):
        return []


def _option(element: Field, name: str, values: Mapping[str, Any] | None) -> Any:
    """The text beside a checkbox, or what there is to choose."""
    if not isinstance(element, Select):
        return getattr(element, "option", None)
    filled = _filled(element, name, values)
    options = [option.to_dict() for option in element.option]
    if filled is None:
        return options
    return [option | {"value": str(option["name"]) == str(filled)} for option in options]
