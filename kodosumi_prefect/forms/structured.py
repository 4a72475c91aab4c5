"""Forms whose values are structured: nested objects, lists, whatever JSON can hold."""

import json
from collections.abc import Iterable, Mapping, Sequence
from typing import Any, NamedTuple, NoReturn

from kodosumi_prefect.forms.bounds import fault
from kodosumi_prefect.forms.choice import InputOption, Select
from kodosumi_prefect.forms.element import Element, RefusedValueError, Value, empty, json_type
from kodosumi_prefect.forms.model import Model
from kodosumi_prefect.forms.text import InputArea

_KINDS = {"array": list, "object": dict}
_WORDS = {"array": "a list", "object": "an object"}
_NOT_GIVEN = object()


class JsonArea(InputArea):
    """A text area for what has no field of its own: lists, mappings, alternatives.

    Arguments:
        kind: ``array`` or ``object``, if it has to be one.
        loose: text that is no JSON stands for itself.
    """

    def __init__(
        self, name: str, *, kind: str | None = None, loose: bool = False, **more: Any
    ) -> None:
        super().__init__(name, **more)
        self._kind = kind
        self._loose = loose

    def nothing(self, posted: Value) -> Any:
        return None

    def parse(self, posted: Value) -> Any:
        value = self._decoded(posted) if isinstance(posted, str) else posted
        if self._kind is not None and not isinstance(value, _KINDS[self._kind]):
            raise RefusedValueError(f"must be {_WORDS[self._kind]} as JSON, not {json_type(value)}")
        if (wrong := fault(value, path=(str(self.name),))) is not None:
            raise RefusedValueError(wrong.below)
        return value

    def _decoded(self, posted: str) -> Any:
        try:
            return json.loads(posted, parse_constant=_no_number)
        except (ValueError, RecursionError) as exc:
            if self._loose:
                return posted
            where = f" (line {exc.lineno})" if isinstance(exc, json.JSONDecodeError) else ""
            what = exc.msg if isinstance(exc, json.JSONDecodeError) else "too deep or too long"
            raise RefusedValueError(f"is not valid JSON: {what}{where}") from None


class TypedSelect(Select):
    """A choice among values that need not be text."""

    def __init__(
        self, name: str, choices: Sequence[tuple[str, Any]], value: Any = _NOT_GIVEN, **more: Any
    ) -> None:
        options = [InputOption(word, word, stands == value) for word, stands in choices]
        chosen = next((word for word, stands in choices if stands == value), None)
        super().__init__(name, options, value=chosen, **more)
        self._choices = dict(choices)

    def read(self, posted: Value) -> Any:
        if empty(posted) and "" not in self._choices:
            if self.required:
                raise RefusedValueError("is required")
            return None
        for stands in self._choices.values():  # API clients post the value itself
            if type(stands) is type(posted) and stands == posted:
                return stands
        return self._choices[super().read(posted)]


class Place(NamedTuple):
    """Where a field's value belongs.

    Attributes:
        path: keys from the outermost object inwards.
        nullable: whether None is a value.
        needed: whether the key has to be there.
    """

    path: tuple[str, ...]
    nullable: bool
    needed: bool


class StructuredModel(Model):
    """A form whose fields' names are paths, such as ``address.street``.

    ``read`` gives the nested values. A field that is left empty is left out, so that its default
    counts, or None where that is a value. Instead of paths, clients may post nested objects.
    """

    def __init__(self, children: Iterable[Element], places: Mapping[str, Place]) -> None:
        super().__init__(*children)
        self.places = dict(places)

    def posted_value(self, data: Mapping[str, Any], name: str) -> Any:
        value = _value_at(data, name, self.places[name].path)
        return None if value is _NOT_GIVEN else value

    def inputs(self, data: Mapping[str, Any]) -> dict[str, Any]:
        """The typed values: what the form was made of has no other."""
        return self.read(data)

    def read(self, data: Mapping[str, Any]) -> dict[str, Any]:
        flat = {name: _value_at(data, name, place.path) for name, place in self.places.items()}
        posted = {name: value for name, value in flat.items() if value is not _NOT_GIVEN}
        values: dict[str, Any] = {}
        for name, value in super().read(posted).items():
            place = self.places[name]
            if place.nullable and empty(value):
                if name not in posted and not place.needed:
                    continue
                value = None
            elif value is None:
                continue
            _put(values, place.path, value)
        return values


def _value_at(data: Mapping[str, Any], name: str, path: tuple[str, ...]) -> Any:
    if name in data:
        return data[name]
    inner: Any = data
    for key in path:
        if not isinstance(inner, Mapping) or key not in inner:
            return _NOT_GIVEN
        inner = inner[key]
    return inner


def _put(values: dict[str, Any], path: tuple[str, ...], value: Any) -> None:
    for key in path[:-1]:
        values = values.setdefault(key, {})
    values[path[-1]] = value


def _no_number(word: str) -> NoReturn:
    raise json.JSONDecodeError(f"{word} is not a JSON number", word, 0)
