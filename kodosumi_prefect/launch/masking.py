"""Secret inputs: masked wherever people or Prefect see them, put back for the run alone."""

from collections import defaultdict
from collections.abc import Iterable, Iterator, Sequence
from typing import Any, NamedTuple

from kodosumi_prefect.launch.typed_values import MAPPING_KINDS, SECRET_KINDS, TypeAt

MASK = "********"

Place = tuple[str | int, ...]  # keys and indexes that lead to a value


class Masked(NamedTuple):
    """Inputs whose secret values are masked, and those values with where they belong."""

    inputs: Any
    secrets: list[tuple[Place, Any]]


def mask_inputs(
    inputs: Any, names: Iterable[str], values: Iterable[Any] = (), types: Iterable[TypeAt] = ()
) -> Masked:
    """Mask the secrets among inputs.

    Arguments:
        inputs: as JSON.
        names: of the form's password fields; values under them are secret at any depth.
        values: what was typed into those fields; secret wherever else it stands.
        types: what ``typed_values.encode`` gave beside the JSON.
    """
    return _Masking(frozenset(names), types).of(inputs, values)


def unmasked(inputs: Any, secrets: Iterable[tuple[Sequence[str | int], Any]]) -> Any:
    """The inputs with their secret values back where they belong."""
    root = [inputs]
    for place, value in secrets:
        within: Any = root
        steps = [0, *place]
        for part in steps[:-1]:
            within = within[part]
        within[steps[-1]] = value
    return root[0]


class _Masking:
    def __init__(self, names: frozenset[str], types: Iterable[TypeAt]) -> None:
        self._names = names
        self._kinds: defaultdict[Place, set[str]] = defaultdict(set)
        for path, kind, *_ in types:
            self._kinds[tuple(path)].add(kind)
        self._secrets: list[tuple[Place, Any]] = []
        self._known: set[str] = set()

    def of(self, inputs: Any, values: Iterable[Any]) -> Masked:
        self._known = {value for value in values if isinstance(value, str) and value}
        self._known |= self._strings_under_names(inputs, (), inside=False)
        return Masked(self._masked(inputs, (), None), self._secrets)

    def _masked(self, value: Any, place: Place, name: Any) -> Any:
        if self._is_secret(value, place, name):
            self._secrets.append((place, value))
            return MASK
        if isinstance(value, dict):
            return {key: self._masked(item, (*place, key), key) for key, item in value.items()}
        if isinstance(value, list) and self._is_mapping(place):
            return [
                [
                    self._masked(key, (*place, index, 0), None),
                    self._masked(item, (*place, index, 1), key),
                ]
                for index, (key, item) in enumerate(value)
            ]
        if isinstance(value, list):
            return [self._masked(item, (*place, index), None) for index, item in enumerate(value)]
        return value

    def _is_secret(self, value: Any, place: Place, name: Any) -> bool:
        if self._kinds.get(place, set()) & SECRET_KINDS:
            return True
        if isinstance(value, str):
            return value != "" and (value in self._known or self._named(name))
        return value is not None and self._named(name)

    def _named(self, name: Any) -> bool:
        return isinstance(name, str) and name in self._names

    def _is_mapping(self, place: Place) -> bool:
        """Whether a list stands for a mapping: as pairs of keys and values."""
        return bool(self._kinds.get(place, set()) & MAPPING_KINDS)

    def _strings_under_names(self, value: Any, place: Place, *, inside: bool) -> set[str]:
        if isinstance(value, str):
            return {value} if inside and value else set()
        strings: set[str] = set()
        for step, item, name in self._children(value, place):
            within = inside or self._named(name)
            strings |= self._strings_under_names(item, (*place, *step), inside=within)
        return strings

    def _children(self, value: Any, place: Place) -> Iterator[tuple[Place, Any, Any]]:
        """Of each part how to get there, the part, and the key that it stands under."""
        if isinstance(value, dict):
            yield from (((key,), item, key) for key, item in value.items())
        elif isinstance(value, list) and self._is_mapping(place):
            for index, (key, item) in enumerate(value):
                yield (index, 0), key, None
                yield (index, 1), item, key
        elif isinstance(value, list):
            yield from (((index,), item, None) for index, item in enumerate(value))
