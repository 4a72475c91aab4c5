"""Fields of a form as they are typed in a terminal."""

from collections.abc import Mapping, Sequence
from typing import Any

from kodosumi_prefect.cli.output import CommandError

YES = frozenset({"yes", "y", "true", "on", "1"})
NO = frozenset({"no", "n", "false", "off", "0", ""})


def filled_in(typed: Mapping[str, str], elements: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
    """What is posted for the fields that were typed; a box is ticked by yes, true, on or 1.

    Arguments:
        elements: the form; if there are none, any field is taken as it is.

    Raises:
        CommandError: the form has no such field, or a box is told neither yes nor no.
    """
    types = {str(one["name"]): one.get("type") for one in elements if one.get("name")}
    if unknown := sorted(typed.keys() - types.keys()) if elements else []:
        has = ", ".join(types) or "none"
        raise CommandError(f"{unknown[0]}: the form has no such field; its fields: {has}")
    return {
        name: _ticked(name, value) if types.get(name) == "boolean" else value
        for name, value in typed.items()
    }


def _ticked(name: str, value: str) -> bool:
    word = value.strip().lower()
    if word not in YES | NO:
        raise CommandError(f"{name}: is {value!r}; yes or no is wanted")
    return word in YES
