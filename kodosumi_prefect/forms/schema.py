"""Forms made from JSON schemas, such as the parameters of a Prefect deployment."""

import json
from collections.abc import Iterator, Mapping
from typing import Any

from kodosumi_prefect.forms.choice import Checkbox
from kodosumi_prefect.forms.display import Errors, Markdown, Submit
from kodosumi_prefect.forms.element import Element, Field, Value, text
from kodosumi_prefect.forms.files import FORMAT, field_of_schema
from kodosumi_prefect.forms.moment import InputDate, InputDateTime, InputTime
from kodosumi_prefect.forms.number import InputNumber
from kodosumi_prefect.forms.structured import JsonArea, Place, StructuredModel, TypedSelect
from kodosumi_prefect.forms.text import InputArea, InputPassword, InputText, check_length

LONG = 255  # characters from which on a text gets an area
MOST = 200  # fields; objects beyond them are JSON
DEEPEST = 5  # objects within objects that get fields; what is deeper is JSON
_MISSING = object()

Schema = Mapping[str, Any]


def from_schema(
    schema: Schema, defaults: Mapping[str, Any] | None = None, *, submit: str | None = "Submit"
) -> StructuredModel:
    """The form of an object that a JSON schema describes.

    Example:
        ```python
        form = from_schema(deployment.parameter_openapi_schema, deployment.parameters)
        parameters = form.read(posted)
        ```

    Objects within it get fields named by their path (``address.street``); lists, mappings and
    alternatives are written as JSON. Text or a list with ``"format": "kodosumi-files"`` holds names
    of files, which people choose.

    Arguments:
        schema: as pydantic and Prefect make it, ``$ref`` and ``anyOf`` included.
        defaults: values that count before the schema's own; their fields may be left empty.
        submit: what the button says; None for no button.
    """
    reading = _Reading(schema)
    elements = list(reading.all(defaults or {}))
    button = [Submit(submit)] if submit is not None else []
    return StructuredModel([Errors(), *elements, *button], reading.places)


class _Reading:
    """One way through a schema."""

    def __init__(self, root: Schema) -> None:
        self._root = root
        self.places: dict[str, Place] = {}

    def all(self, defaults: Mapping[str, Any]) -> Iterator[Element]:
        """The elements of the whole schema."""
        schema, _, seen = self._resolved(self._root)
        return self._object(schema, (), defaults, seen)

    def _object(
        self, schema: Schema, path: tuple[str, ...], defaults: Any, within: frozenset[str]
    ) -> Iterator[Element]:
        """The elements of an object's properties."""
        required = set(schema.get("required", ()))
        properties = schema.get("properties") or {}
        ordered = sorted(properties.items(), key=_position)
        for key, described in ordered:
            default = defaults.get(key, _MISSING) if isinstance(defaults, Mapping) else _MISSING
            yield from self._property(
                described if isinstance(described, Mapping) else {},
                (*path, key),
                default,
                key in required and default is _MISSING,
                within,
            )

    def _property(
        self,
        described: Schema,
        path: tuple[str, ...],
        default: Any,
        needed: bool,
        within: frozenset[str],
    ) -> Iterator[Element]:
        schema, nullable, seen = self._resolved(described)
        if default is _MISSING:
            default = schema.get("default", _MISSING)
        title = str(described.get("title") or path[-1].replace("_", " ").capitalize())
        hint = schema.get("description")
        inner = schema.get("properties")
        recursive = bool(seen & within)
        small = len(path) < DEEPEST and len(self.places) < MOST
        if inner and small and not nullable and not recursive:
            yield Markdown(f"### {title}" + (f"\n\n{hint}" if hint else ""))
            yield from self._object(schema, path, default, within | seen)
            return
        name = ".".join(path)
        self.places[name] = Place(path, nullable, needed)
        field = self._field(name, schema, None if default is _MISSING else default, nullable)
        field.label = title
        field.required = needed and not nullable and not isinstance(field, Checkbox)
        if isinstance(field, Checkbox):
            field.option, field.label = (str(hint), title) if hint else (title, None)
        elif hint:
            field.help = str(hint)
            if hasattr(field, "placeholder"):
                field.placeholder = field.help  # for clients that know no help
        yield field

    def _resolved(self, described: Schema) -> tuple[dict[str, Any], bool, frozenset[str]]:
        """A schema without ``$ref`` and null, whether it had null, and the names it went by."""
        schema, nullable, seen = dict(described), False, set[str]()
        while True:
            if (ref := schema.pop("$ref", None)) is not None:
                if ref in seen:
                    break
                seen.add(ref)
                schema = {**self._definition(ref), **schema}
                continue
            if len(parts := _branches(schema, "allOf")) == 1:
                del schema["allOf"]
                schema = {**parts[0], **schema}
                continue
            narrowed = False
            for word in ("anyOf", "oneOf"):
                branches = _branches(schema, word)
                alternatives = [branch for branch in branches if branch.get("type") != "null"]
                nullable |= len(alternatives) < len(branches)
                if branches and len(alternatives) == 1:
                    del schema[word]
                    schema = {**alternatives[0], **schema}
                    narrowed = True
                elif branches:
                    schema[word] = alternatives
            if not narrowed:
                break
        kinds = schema.get("type")
        if isinstance(kinds, list):
            nullable |= "null" in kinds
            left = [kind for kind in kinds if kind != "null"]
            schema["type"] = left[0] if len(left) == 1 else None
        return schema, nullable, frozenset(seen)

    def _definition(self, ref: str) -> dict[str, Any]:
        """What a ``$ref`` within this schema means; anything, if it leads nowhere."""
        inner: Any = self._root
        for part in ref.removeprefix("#/").split("/"):
            part = part.replace("~1", "/").replace("~0", "~")
            inner = inner.get(part) if isinstance(inner, Mapping) else None
        return dict(inner) if isinstance(inner, Mapping) else {}

    def _field(self, name: str, schema: Schema, default: Any, nullable: bool) -> Field:
        if schema.get("format") == FORMAT:
            return field_of_schema(name, schema, schema.get("type"))
        if (choices := _choices(schema)) is not None:
            blank = [("", None)] if nullable else []
            return TypedSelect(name, [*blank, *choices], value=default)
        kind = schema.get("type") or self._common_type(schema)
        if kind == "boolean":
            if nullable:
                words = [("", None), ("true", True), ("false", False)]
                return TypedSelect(name, words, value=default)
            return Checkbox(name, value=bool(default))
        if kind in ("integer", "number"):
            return _number(name, schema, default, kind)
        if kind == "string":
            return _string(name, schema, default)
        if kind in ("array", "object"):
            return JsonArea(name, kind=kind, value=_written(default), rows=4)
        loose = not (schema.get("anyOf") or schema.get("oneOf"))
        return JsonArea(name, loose=loose, value=_written(default, loose), rows=4)

    def _common_type(self, schema: Schema) -> str | None:
        """The type that holds all of some scalar alternatives, if there is one."""
        branches = _branches(schema, "anyOf") or _branches(schema, "oneOf")
        kinds = {self._resolved(branch)[0].get("type") for branch in branches}
        plain = {"string", "integer", "number"}
        if not kinds or not kinds <= plain:
            return None
        return "string" if "string" in kinds else "number"


class _BoundText(InputText):
    """A line of text whose length the server alone checks: the element has no place for it."""

    def __init__(self, name: str, bounds: tuple[int | None, int | None], **more: Any) -> None:
        super().__init__(name, **more)
        self._bounds = bounds

    def parse(self, posted: Value) -> Any:
        check_length(text(posted), *self._bounds)
        return super().parse(posted)


def _position(entry: tuple[str, Any]) -> int:
    """Prefect says where a parameter stands; other properties keep their order."""
    position = entry[1].get("position") if isinstance(entry[1], Mapping) else None
    return position if isinstance(position, int) else 0


def _branches(schema: Schema, word: str) -> list[dict[str, Any]]:
    """The alternatives that a schema names under ``anyOf`` and the like."""
    alternatives = schema.get(word)
    if not isinstance(alternatives, list):
        return []
    return [dict(branch) for branch in alternatives if isinstance(branch, Mapping)]


def _choices(schema: Schema) -> list[tuple[str, Any]] | None:
    """The words and values of an enum or constant."""
    values = [schema["const"]] if "const" in schema else schema.get("enum")
    if not isinstance(values, list):
        return None
    return [(value if isinstance(value, str) else json.dumps(value), value) for value in values]


def _number(name: str, schema: Schema, default: Any, kind: str) -> InputNumber:
    least, most = schema.get("minimum"), schema.get("maximum")
    whole = kind == "integer"
    # A form cannot say "more than"; of whole numbers it can say the next one.
    if (above := schema.get("exclusiveMinimum")) is not None and least is None:
        least = above + 1 if whole else above
    if (below := schema.get("exclusiveMaximum")) is not None and most is None:
        most = below - 1 if whole else below
    step = schema.get("multipleOf") or (1 if whole else None)
    based = least is None or step is None or least % step == 0
    return InputNumber(
        name,
        value=default,
        min_value=least,
        max_value=most,
        # HTML counts steps from the least value, JSON schema from zero.
        step=step if based else (1 if whole else None),
    )


def _string(name: str, schema: Schema, default: Any) -> Field:
    form = schema.get("format")
    written = default if isinstance(default, str) else None if default is None else str(default)
    least, most = schema.get("minLength"), schema.get("maxLength")
    pattern = _whole(schema["pattern"]) if schema.get("pattern") else None
    if form == "password" or schema.get("writeOnly"):
        # What is set already is not shown to those who fill in the form.
        return InputPassword(name, pattern=pattern, min_length=least, max_length=most)
    if form == "date":
        return InputDate(name, value=written)
    if form == "time":
        return InputTime(name, value=written)
    if form == "date-time":
        return InputDateTime(name, value=written)
    if pattern is None and ((most or 0) > LONG or "\n" in (written or "")):
        return InputArea(name, value=written, rows=6, max_length=most)
    return _BoundText(name, (least, most), value=written, pattern=pattern)


def _whole(pattern: str) -> str:
    """A schema's pattern, which may match anywhere, as one that has to match all of a text."""
    if pattern.startswith("^") and pattern.endswith("$") and "|" not in pattern:
        return pattern[1:-1]
    return f"[\\s\\S]*(?:{pattern})[\\s\\S]*"


def _written(default: Any, loose: bool = False) -> str | None:
    if default is None:
        return None
    if loose and isinstance(default, str):
        return default
    return json.dumps(default, ensure_ascii=False, indent=2)
