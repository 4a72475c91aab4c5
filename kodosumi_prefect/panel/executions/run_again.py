"""Running an execution again: which endpoint it came from, and its form filled in as it was."""

import json
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from kodosumi_prefect.database.rows.services import EndpointOfExecution
from kodosumi_prefect.forms import Checkbox, Field, InputFiles, InputPassword
from kodosumi_prefect.forms.model import element_of
from kodosumi_prefect.launch.masking import MASK
from kodosumi_prefect.stream.reader import Reader

_MISSING = object()


async def again_url(reader: Reader, fid: str, mounted: Sequence[str]) -> str | None:
    """Where an execution's form is filled in again, below the panel's root.

    Arguments:
        mounted: names of the services that this panel runs itself.

    Returns:
        ``services/{uid}?from={fid}``; None if no endpoint that can be called here is known to have
        launched it.
    """
    return (await again_urls(reader, [fid], mounted)).get(fid)


async def again_urls(reader: Reader, fids: Sequence[str], mounted: Sequence[str]) -> dict[str, str]:
    """As ``again_url`` for a list, by fid; those without an endpoint are left out.

    Runs of a listed Prefect deployment belong to that; others to the endpoint of their service
    whose path their flow's name ends with, where a schedule or the summary may tell more.
    """
    if not fids:
        return {}
    origins = await reader.rows_of(
        EndpointOfExecution, "endpoints_of_executions", fids=list(fids), mounted=list(mounted)
    )
    return {origin.fid: f"services/{origin.uid}?from={origin.fid}" for origin in origins}


def filled(elements: Iterable[Mapping[str, Any]], inputs: str | None) -> dict[str, Any]:
    """What a form shows to be like the inputs of an earlier run; what was secret stays empty.

    Arguments:
        inputs: envelope as JSON, as the row of the execution has it; see ``events.serialize``.

    Returns:
        Values by field, for ``form_html``; empty if the inputs and the form have nothing in common.
    """
    fields = input_fields(inputs)
    if fields is None:
        return {}
    values: dict[str, Any] = {}
    boxes: dict[str, Any] = {}
    for described in elements:
        try:
            field = element_of(described)
        except (ValueError, TypeError):
            continue  # a kind that the panel does not know; the form says so
        if not isinstance(field, Field) or isinstance(field, InputPassword | InputFiles):
            continue
        name = str(field.name)
        value = _at(fields, name)
        if isinstance(field, Checkbox):
            boxes[name] = value if isinstance(value, bool) else field.value is True
            if isinstance(value, bool):
                values[name] = value
        elif value is not _MISSING and not _secret(value):
            values[name] = _written(value)
    # A box that is not named counts as not ticked, so all are named once anything is.
    return boxes | values if values else {}


def filled_files(
    elements: Iterable[Mapping[str, Any]], inputs: str | None, fid: str, paths: Sequence[str]
) -> dict[str, str]:
    """What fields for files show to be like an earlier run: files of its ``in/`` that go along.

    Each field gets what its value names; a form's only one gets all.

    Arguments:
        inputs: as ``filled`` has it.
        fid: of the earlier run.
        paths: within its ``in/``.
    """
    names = [str(each.get("name")) for each in elements if each.get("type") == InputFiles.type]
    fields = input_fields(inputs) or {}
    chosen: dict[str, list[str]] = {}
    for name in names:
        value = _at(fields, name)
        listed = value if isinstance(value, list) else [value]
        chosen[name] = [path for path in paths if path in listed]
    if len(names) == 1 and not any(chosen.values()):
        chosen = {names[0]: list(paths)}
    return {
        name: json.dumps({"batchId": None, "items": {}, "again": {"fid": fid, "names": some}})
        for name, some in chosen.items()
        if some
    }


def input_fields(inputs: str | None) -> dict[str, Any] | None:
    """The inputs in their envelope, whose one key is their type; None if they are no fields."""
    try:
        envelope = json.loads(inputs or "null")
    except ValueError:
        return None
    if not isinstance(envelope, dict) or len(envelope) != 1:
        return None
    fields = next(iter(envelope.values()))
    return fields if isinstance(fields, dict) else None


def _at(inputs: dict[str, Any], name: str) -> Any:
    """The value of a field: by its name, or by the path that the name is."""
    if name in inputs:
        return inputs[name]
    for root in (inputs, {"inputs": inputs}):
        value: Any = root
        for part in name.split("."):
            value = value.get(part, _MISSING) if isinstance(value, dict) else _MISSING
        if value is not _MISSING:
            return value
    return _MISSING


def _secret(value: Any) -> bool:
    """Whether anything in it was masked; as it stands nobody would want to send that."""
    if isinstance(value, dict):
        return any(map(_secret, value.values()))
    if isinstance(value, list):
        return any(map(_secret, value))
    return isinstance(value, str) and value == MASK


def _written(value: Any) -> str:
    """A value as its field takes it."""
    if value is None:
        return ""
    if isinstance(value, str):
        return value
    return json.dumps(
        value, ensure_ascii=False, indent=2 if isinstance(value, dict | list) else None
    )
