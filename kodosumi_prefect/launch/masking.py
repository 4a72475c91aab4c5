"""Secret inputs: masked wherever people or Prefect see them, put back for the run alone."""

from collections.abc import Iterable, Sequence
from typing import Any, NamedTuple

from pydantic import SecretStr

MASK = "********"

Place = tuple[str | int, ...]  # keys and indexes that lead to a value


class Masked(NamedTuple):
    """Inputs whose secret values are masked, and those values with where they belong."""

    inputs: dict[str, Any]
    secrets: list[tuple[Place, Any]]


def mask_inputs(inputs: dict[str, Any], names: Iterable[str], values: Iterable[Any] = ()) -> Masked:
    """Mask the secrets among inputs.

    Arguments:
        names: of the form's password fields; values under them are secret at any depth.
        values: what was typed into those fields; secret wherever else it stands.
    """
    names = frozenset(names)
    known = {value for value in values if isinstance(value, str) and value}
    known |= _strings_under(inputs, names)
    secrets: list[tuple[Place, Any]] = []

    def walk(value: Any, place: Place) -> Any:
        if isinstance(value, SecretStr):
            value = value.get_secret_value()
        elif not (_is_secret(place, value, names) or (isinstance(value, str) and value in known)):
            if isinstance(value, dict):
                return {key: walk(item, (*place, key)) for key, item in value.items()}
            if isinstance(value, list | tuple):
                return [walk(item, (*place, index)) for index, item in enumerate(value)]
            return value
        secrets.append((place, value))
        return MASK

    return Masked({key: walk(value, (key,)) for key, value in inputs.items()}, secrets)


def unmasked(inputs: dict[str, Any], secrets: Iterable[tuple[Sequence[str | int], Any]]) -> None:
    """Put secret values back where they belong."""
    for place, value in secrets:
        within: Any = inputs
        for part in place[:-1]:
            within = within[part]
        within[place[-1]] = value


def _is_secret(place: Place, value: Any, names: frozenset[str]) -> bool:
    return place[-1] in names and value is not None and value != ""


def _strings_under(value: Any, names: frozenset[str], inside: bool = False) -> set[str]:
    if isinstance(value, dict):
        strings: set[str] = set()
        for key, item in value.items():
            strings |= _strings_under(item, names, inside or key in names)
        return strings
    if isinstance(value, list | tuple):
        return set().union(*(_strings_under(item, names, inside) for item in value))
    return {value} if inside and isinstance(value, str) and value else set()
