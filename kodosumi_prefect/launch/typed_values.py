"""Python values as JSON and a list of types, and back: how inputs keep their types on the way.

The JSON is what people read in Prefect and in the record; it has nothing in it that is not the
value itself. The list beside it says where a type is that JSON has no word for: ``[path, kind]``,
or ``[path, kind, class, …]`` for a class, which is named by where it can be imported. It is made by
``Launch`` alone, so that nothing that somebody posts is ever taken for a type. Classes are rebuilt
by what checks their values: pydantic's validation, the constructor of a dataclass, the lookup of an
enum. Nothing is pickled.
"""

import dataclasses
import json
from collections import OrderedDict, defaultdict, deque
from collections.abc import Iterable
from datetime import date, time
from enum import Enum
from typing import Any, NamedTuple

from pydantic import (
    AnyUrl,
    BaseModel,
    RootModel,
    TypeAdapter,
    ValidationError,
)

from kodosumi_prefect.error import KodosumiError
from kodosumi_prefect.error_line import error_line
from kodosumi_prefect.forms.bounds import DEEPEST, Path
from kodosumi_prefect.launch.class_paths import (
    UntravelledError,
    importable,
    imported,
    subclass,
)
from kodosumi_prefect.launch.scalars import BASES, KINDS, SCALARS, finite, integer, moment_of

TypeAt = list[Any]  # [path, kind] or [path, kind, class, …]


class TooDeepError(KodosumiError):
    """A value has more levels than can be stored."""

    def __init__(self, path: Path) -> None:
        super().__init__("is nested too deep")
        self.path = path


class Encoded(NamedTuple):
    """A value as JSON, and the types that JSON has no word for, inner ones before outer ones."""

    json: Any
    types: list[TypeAt]


def encode(value: Any) -> Encoded:
    """A value as ``decode`` rebuilds it in another process.

    Raises:
        UntravelledError: it has a part that cannot be rebuilt from its class's import path.
        TooDeepError: it is nested too deep, or holds itself.
    """
    encoded = _encode(value)
    if any(len(one) > 2 for one in encoded.types):  # code of others rebuilds it
        again = _encode(decode(encoded))
        if (path := _difference(encoded, again)) is not None:
            raise UntravelledError(path, "its class, given its own values, makes something else")
    return encoded


def decode(encoded: Encoded) -> Any:
    """The value that was encoded.

    Parts of it that somebody removed in Prefect are left out; what somebody put in their place has
    to be of the same type.

    Raises:
        UntravelledError: a class is not there any more, or does not take the values.
    """
    root: list[Any] = [json.loads(json.dumps(encoded.json))]
    for one in encoded.types:
        path, kind, *details = one
        within: Any = root
        steps = [0, *path]
        try:
            for part in steps[:-1]:
                within = within[part]
            part = steps[-1]
            stored = within[part]
        except (LookupError, TypeError):
            continue
        try:
            within[part] = _rebuilt(kind, details, stored)
        except UntravelledError as exc:
            raise UntravelledError(path, exc.why) from exc
        except ValidationError as exc:
            [first, *_] = exc.errors(include_url=False, include_input=False)
            why = ": ".join([*map(str, first["loc"]), first["msg"]])
            raise UntravelledError(path, f"{_name_of(kind, details)} refuses {why}") from exc
        except Exception as exc:  # validators and constructors are code of others
            raise UntravelledError(
                path,
                f"no {_name_of(kind, details)} can be made of what is stored: {error_line(exc)}",
            ) from exc
    return root[0]


def type_name(types: Iterable[TypeAt]) -> str | None:
    """The name of the whole value's type, where its JSON would not tell it; for the record."""
    whole = [one for one in types if not one[0]]
    if not whole:
        return None
    [_, kind, *details] = whole[-1]
    return None if kind in _AS_JSON else _name_of(kind, details)


def _name_of(kind: str, details: list[Any]) -> str:
    return str(details[0]).partition(":")[2] if details and details[0] else kind


def _encode(value: Any) -> Encoded:
    types: list[TypeAt] = []
    return Encoded(_Encoder(types).json_of(value, ()), types)


class _Encoder:
    def __init__(self, types: list[TypeAt]) -> None:
        self._types = types

    def json_of(self, value: Any, path: Path) -> Any:
        if len(path) > DEEPEST:
            raise TooDeepError(path)
        kind = type(value)
        if value is None or kind is bool or kind is str:
            return value
        if kind is int:
            stored = integer(value)
            return stored if isinstance(stored, int) else self._of(path, "int", stored)
        if kind is float:
            number = finite(value)
            return number if isinstance(number, float) else self._of(path, "float", number)
        if kind is dict:
            items = self._items(value, path)
            return items if isinstance(items, dict) else self._of(path, "pairs", items)
        if kind is list:
            return self._sequence(value, path)
        if (scalar := SCALARS.get(kind)) is not None:
            return self._of(path, scalar.kind, scalar.text_of(value))
        if isinstance(value, Enum):
            return self._enum(value, path)
        if isinstance(value, BaseModel):
            return self._model(value, path)
        if dataclasses.is_dataclass(value):
            return self._dataclass(value, path)
        return self._of_base(value, path)

    def _of(self, path: Path, kind: str, text: Any, *details: Any) -> Any:
        self._types.append([list(path), kind, *details])
        return text

    def _sequence(self, items: Iterable[Any], path: Path) -> list[Any]:
        return [self.json_of(item, (*path, index)) for index, item in enumerate(items)]

    def _items(self, value: dict[Any, Any], path: Path) -> dict[str, Any] | list[list[Any]]:
        """As an object, if all keys are text; else, and where order counts, as pairs."""
        if all(type(key) is str for key in value) and not isinstance(value, OrderedDict):
            return {key: self.json_of(item, (*path, key)) for key, item in value.items()}
        return [
            [self.json_of(key, (*path, index, 0)), self.json_of(item, (*path, index, 1))]
            for index, (key, item) in enumerate(value.items())
        ]

    def _set(self, items: Iterable[Any], path: Path) -> list[Any]:
        """In an order that does not change from process to process."""
        each = [_encode(item) for item in items]
        each.sort(key=lambda one: json.dumps([one.json, one.types], sort_keys=True))
        for index, one in enumerate(each):
            self._types += [[[*path, index, *at], *rest] for at, *rest in one.types]
        return [one.json for one in each]

    def _enum(self, value: Enum, path: Path) -> Any:
        place = importable(type(value), path)
        before = len(self._types)
        try:
            stored = self.json_of(value.value, path)
        except UntravelledError:
            del self._types[before:]
            return self._of(path, "member", value.name, place)
        return self._of(path, "enum", stored, place)

    def _model(self, value: BaseModel, path: Path) -> Any:
        kind = type(value)
        place = importable(kind, path)
        if isinstance(value, RootModel):
            return self._of(path, "model", self.json_of(value.root, path), place, [])
        fields = {name: getattr(value, name) for name in kind.model_fields}
        unset = [name for name in fields if name not in value.model_fields_set]
        values = fields | (value.model_extra or {})
        if value.__pydantic_private__ and not _privately_alike(value, values, unset):
            raise UntravelledError(path, f"{place} has private attributes, which do not travel")
        return self._of(path, "model", self._items(values, path), place, unset)

    def _dataclass(self, value: Any, path: Path) -> Any:
        place = importable(type(value), path)
        fields = {one.name: getattr(value, one.name) for one in dataclasses.fields(value)}
        return self._of(path, "dataclass", self._items(fields, path), place)

    def _of_base(self, value: Any, path: Path) -> Any:
        """Of a class that derives from a built-in one: a named tuple, an ordered dict, a date."""
        if isinstance(value, defaultdict) and type(value) is defaultdict:
            factory = value.default_factory
            place = None if factory is None else importable(factory, path)
            return self._of(path, "defaultdict", self._items(value, path), place)
        if type(value) is deque:
            return self._of(path, "deque", self._sequence(value, path), value.maxlen)
        stored: Any
        if isinstance(value, dict):
            kind, stored = "dict", self._items(value, path)
        elif isinstance(value, set | frozenset):
            kind = "set" if isinstance(value, set) else "frozenset"
            stored = self._set(value, path)
        elif isinstance(value, tuple | list):
            kind = "tuple" if isinstance(value, tuple) else "list"
            stored = self._sequence(value, path)
        elif isinstance(value, AnyUrl):
            kind, stored = "url", str(value)
        else:
            base = next((base for base in BASES if isinstance(value, base)), None)
            if base is None:
                raise UntravelledError(
                    path,
                    f"{_full_name(type(value))} cannot travel to the process of the run; give what "
                    "it is made of (text, numbers, lists, dicts, dates, dataclasses, pydantic "
                    "models)",
                )
            kind, stored = SCALARS[base].kind, SCALARS[base].text_of(value)
        details = [] if type(value) in _CONTAINERS else [importable(type(value), path)]
        return self._of(path, kind, stored, *details)


def _rebuilt(kind: str, details: list[Any], stored: Any) -> Any:
    match kind, details:
        case "pairs", []:
            return dict(stored)
        case "dict", [place]:
            return subclass(place, dict)(dict(stored))
        case "defaultdict", [place]:
            return defaultdict(None if place is None else imported(place), stored)
        case "deque", [maxlen]:
            return deque(stored, maxlen)
        case (("tuple" | "list" | "set" | "frozenset"), []):
            return _BUILT_IN[kind](stored)
        case (("tuple" | "list" | "set" | "frozenset"), [place]):
            container = subclass(place, _BUILT_IN[kind])
            return getattr(container, "_make", container)(stored)
        case "enum", [place]:
            return subclass(place, Enum)(stored)
        case "member", [place]:
            return subclass(place, Enum)[stored]
        case "model", [place, unset]:
            model = subclass(place, BaseModel)
            if issubclass(model, RootModel):
                return model.model_validate(stored)
            return _model(model, stored, unset)
        case "dataclass", [place]:
            return _dataclass(imported(place), stored)
        case "url", [place]:
            return TypeAdapter(subclass(place, AnyUrl)).validate_python(stored)
        case _, []:
            return KINDS[kind].value_of(stored)
        case _, [place]:
            scalar = KINDS[kind]
            derived = subclass(place, scalar.base)
            value = scalar.value_of(stored)
            if isinstance(value, date | time):  # which has a constructor of many arguments
                return moment_of(derived, stored)
            return derived(value)
    raise UntravelledError((), f"{kind} is not known to this release")


def _model(kind: type[BaseModel], fields: dict[str, Any], unset: Iterable[str]) -> BaseModel:
    """A model of checked values; its defaults are its own where they are as they were."""
    unset = [name for name in unset if name in fields]
    set_ones = {name: value for name, value in fields.items() if name not in unset}
    model = kind.model_validate(set_ones, by_name=True)
    changed = {name: fields[name] for name in unset if getattr(model, name) != fields[name]}
    if changed:  # made by a factory: an id, the time
        model = kind.model_validate(set_ones | changed, by_name=True)
        model.__pydantic_fields_set__.difference_update(changed)
    return model


def _privately_alike(model: BaseModel, fields: dict[str, Any], unset: list[str]) -> bool:
    """Whether a model that is rebuilt has the same private attributes."""
    try:
        again = _model(type(model), fields, unset)
        return bool(again.__pydantic_private__ == model.__pydantic_private__)
    except Exception:  # its validators and values are code of others
        return False


def _dataclass(kind: type[Any], fields: dict[str, Any]) -> Any:
    if not dataclasses.is_dataclass(kind):
        raise UntravelledError((), f"{kind.__qualname__} is no dataclass any more")
    known = {one.name: one for one in dataclasses.fields(kind)}
    value = kind(**{name: item for name, item in fields.items() if known[name].init})
    for name, item in fields.items():
        if not known[name].init:
            object.__setattr__(value, name, item)
    return value


def _full_name(kind: type[Any]) -> str:
    return f"{kind.__module__}.{kind.__qualname__}"


def _difference(one: Encoded, other: Encoded) -> Path | None:
    """Where two encodings differ first; None if they do not."""
    if json.dumps(one) == json.dumps(other):
        return None
    waiting: list[tuple[Path, Any, Any]] = [((), one.json, other.json)]
    while waiting:
        path, left, right = waiting.pop()
        if type(left) is not type(right) or not isinstance(left, dict | list):
            if json.dumps(left) != json.dumps(right):
                return path
        elif isinstance(left, dict):
            if list(left) != list(right):
                return path
            waiting += [((*path, key), left[key], right[key]) for key in left]
        elif len(left) != len(right):
            return path
        else:
            waiting += [
                ((*path, index), *pair) for index, pair in enumerate(zip(left, right, strict=True))
            ]
    unlike = [pair for pair in zip(one.types, other.types, strict=False) if pair[0] != pair[1]]
    return tuple(unlike[0][0][0]) if unlike else ()


_BUILT_IN: dict[str, type[Any]] = {
    "tuple": tuple,
    "list": list,
    "set": set,
    "frozenset": frozenset,
}
_CONTAINERS = (tuple, set, frozenset)
SECRET_KINDS = {"SecretStr", "SecretBytes"}
MAPPING_KINDS = {"pairs", "dict", "defaultdict"}  # whose list is one of keys and values
# Kinds that the record shows as their JSON.
_AS_JSON = MAPPING_KINDS | {"tuple", "list", "str", "int", "float"}
