"""Of the inputs of runs in a list, those that tell a run from its neighbours."""

import re
from collections.abc import Iterator, Mapping, Sequence
from json import JSONDecodeError, JSONDecoder
from typing import Any

LONGEST = 48  # characters of a value that is shown
FIELDS = 2  # shown of a run, at most
# Recorded inputs have their secrets masked already; this leaves out what only looks like one.
_SECRET = re.compile(r"passw|secret|credential|api_?key|(^|_)token$", re.I)
_MASKED = re.compile(r"\*+")
_SPACE = re.compile(r"[\s,]*")
_decoder = JSONDecoder()


def telling(inputs: Sequence[tuple[str | None, str | None]]) -> list[list[tuple[str, str]]]:
    """For each run the fields, and their values, by which it differs from others of its flow.

    Arguments:
        inputs: of each run its flow, and the recorded inputs as JSON, possibly only their
            beginning.

    Returns:
        As many as ``inputs``: names and values as text; the first field alone where none differs.
    """
    scalars = [_scalars(text) for _, text in inputs]
    by_flow: dict[str | None, list[dict[str, str]]] = {}
    for (flow, _), fields in zip(inputs, scalars, strict=True):
        by_flow.setdefault(flow, []).append(fields)
    chosen = {flow: _differing(rows) for flow, rows in by_flow.items()}
    return [
        [(name, fields[name]) for name in chosen[flow] if name in fields]
        or list(fields.items())[:1]
        for (flow, _), fields in zip(inputs, scalars, strict=True)
    ]


def _differing(rows: Sequence[Mapping[str, str]]) -> list[str]:
    """Names of the fewest fields that tell most of the rows apart, at most ``FIELDS``."""
    names = list(dict.fromkeys(name for row in rows for name in row))
    chosen: list[str] = []
    told = 1
    while len(chosen) < FIELDS and names:
        # Of equally good ones the first, as people put first what matters.
        best = max(names, key=lambda name: _groups(rows, [*chosen, name]))
        if (groups := _groups(rows, [*chosen, best])) <= told:
            break
        chosen.append(best)
        told = groups
    return chosen


def _groups(rows: Sequence[Mapping[str, str]], names: Sequence[str]) -> int:
    return len({tuple(row.get(name) for name in names) for row in rows})


def _scalars(text: str | None) -> dict[str, str]:
    """Short values of the inputs by their fields, in the order of the form."""
    fields: dict[str, str] = {}
    for _, envelope in _members(text or "", 0):
        if isinstance(envelope, dict):
            _put(fields, envelope.items(), 0)
        elif isinstance(envelope, str):  # what stands in for an object that is cut off
            _put(fields, _members(envelope, 0), 0)
        break
    return fields


def _put(fields: dict[str, str], items: Any, depth: int) -> None:
    for name, value in items:
        if not isinstance(name, str) or _SECRET.search(name) or name in fields:
            continue
        if isinstance(value, dict) and depth == 0:
            _put(fields, value.items(), 1)
        elif isinstance(value, bool):
            fields[name] = "yes" if value else "no"
        elif isinstance(value, int | float | str):
            line = " ".join(str(value).split())
            if line and not _MASKED.fullmatch(line):
                fields[name] = line if len(line) <= LONGEST else f"{line[: LONGEST - 1]}…"


def _members(text: str, start: int) -> Iterator[tuple[str, Any]]:
    """Members of a JSON object as far as they are whole; a cut-off object comes as its text."""
    at = text.find("{", start) + 1
    while at:
        at = _end(_SPACE, text, at)
        try:
            name, at = _decoder.raw_decode(text, at)
            at = _end(re.compile(r"\s*:\s*"), text, at)
        except JSONDecodeError:
            return
        try:
            value, at = _decoder.raw_decode(text, at)
        except JSONDecodeError:
            if text[at : at + 1] == "{":
                yield str(name), text[at:]
            return
        yield str(name), value


def _end(pattern: re.Pattern[str], text: str, at: int) -> int:
    match = pattern.match(text, at)
    return match.end() if match else at
