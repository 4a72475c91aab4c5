"""Which inputs of a launch go into Prefect's parameters, and which into our Postgres."""

import json
from collections.abc import Iterable
from typing import Any, NamedTuple

from pydantic_core import PydanticSerializationError, to_jsonable_python

from kodosumi_prefect.adapter import stored_inputs
from kodosumi_prefect.forms.bounds import fault
from kodosumi_prefect.keys import NoKeyError, run_keys
from kodosumi_prefect.launch.masking import Masked, mask_inputs, unmasked
from kodosumi_prefect.launch.parameters import UnheldError
from kodosumi_prefect.launch.refusal import FaultyServiceError
from kodosumi_prefect.settings import Settings, get_settings

LARGEST = 64 * 1024  # bytes of inputs as JSON that Prefect gets to keep


class Packed(NamedTuple):
    """Inputs on their way to a run.

    Attributes:
        visible: all of them, secret values masked; what people may see.
        parameters: what Prefect gets: the same, or a note if that is too much.
        large: Prefect gets the note.
        row: values for the query ``store_payload``; None if Prefect gets everything.
    """

    visible: dict[str, Any]
    parameters: dict[str, Any]
    large: bool
    row: dict[str, Any] | None


def pack_inputs(
    inputs: Any,
    names: Iterable[str],
    values: Iterable[Any],
    settings: Settings,
    *,
    for_schedule: bool = False,
) -> Packed:
    """Divide inputs between Prefect and Postgres.

    Arguments:
        names: of the form's password fields.
        values: what was typed into them.
        for_schedule: for a schedule, whose runs all get them.

    Raises:
        LaunchError: the inputs are no mapping, no JSON can be made of them, or there is no key to
            encrypt secrets with.
        UnheldError: one is nested too deep, or contains invalid text.
    """
    by_name = _mapping(inputs)
    for name, value in by_name.items():
        if (wrong := fault(value, nul=True, path=(name,))) is not None:
            raise UnheldError(wrong)
    secret = _jsonable(mask_inputs(by_name, names, values))
    text = json.dumps(secret.inputs, ensure_ascii=False)
    size = len(text.encode(errors="replace"))
    large = size > LARGEST
    if not large and not secret.secrets:
        return Packed(secret.inputs, secret.inputs, False, None)
    row: dict[str, Any] = {"inputs": text if large else None, "secrets": None, "kept": for_schedule}
    if secret.secrets:
        try:
            box = run_keys(settings).box
        except NoKeyError as exc:
            raise FaultyServiceError(f"secret inputs cannot be stored: {exc}") from exc
        row["secrets"] = box.encrypt(json.dumps(secret.secrets).encode())
    note = {"kept": f"{size:,} bytes of inputs are stored in Kodosumi's database"}
    return Packed(secret.inputs, note if large else secret.inputs, large, row)


def unpack_inputs(inputs: dict[str, Any], payload: str, fid: str | None) -> dict[str, Any]:
    """The inputs as they were launched, in the process that runs them.

    Arguments:
        inputs: those among Prefect's parameters.
        payload: id of the row with the rest.
        fid: the run.

    Raises:
        PayloadError: the rest cannot be read, or was deleted.
    """
    settings = get_settings()
    row = stored_inputs.take(settings, payload, fid)
    values: dict[str, Any] = inputs if row.inputs is None else json.loads(row.inputs)
    if row.secrets is not None:
        unmasked(values, json.loads(run_keys(settings).box.decrypt(row.secrets)))
    elif row.inputs is None:
        raise stored_inputs.PayloadError(
            "this run's secret inputs were deleted when it ended; launch it again"
        )
    return values


def _mapping(inputs: Any) -> dict[str, Any]:
    if inputs is None:
        return {}
    if hasattr(inputs, "model_fields") and not isinstance(inputs, type):
        return {name: getattr(inputs, name) for name in type(inputs).model_fields}
    if not isinstance(inputs, dict):
        raise FaultyServiceError(
            f"Launch got inputs of type {type(inputs).__name__}; give a dict or a model"
        )
    return {str(key): value for key, value in inputs.items()}


def _jsonable(masked_inputs: Masked) -> Masked:
    try:
        return Masked(
            to_jsonable_python(masked_inputs.inputs),
            [(place, to_jsonable_python(value)) for place, value in masked_inputs.secrets],
        )
    except (PydanticSerializationError, ValueError, RecursionError) as exc:
        raise FaultyServiceError(f"Launch got inputs that are not JSON: {exc}") from exc
