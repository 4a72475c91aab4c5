"""Which inputs of a launch go into Prefect's parameters, and which into our Postgres."""

import json
from collections.abc import Iterable
from typing import Any, NamedTuple

from kodosumi_prefect.adapter import stored_inputs
from kodosumi_prefect.adapter.launched import WHOLE, LaunchParameter
from kodosumi_prefect.forms.bounds import DEEPEST, Fault, fault
from kodosumi_prefect.keys import NoKeyError, run_keys
from kodosumi_prefect.launch.class_paths import UntravelledError
from kodosumi_prefect.launch.masking import mask_inputs, unmasked
from kodosumi_prefect.launch.parameters import UnheldError
from kodosumi_prefect.launch.refusal import FaultyServiceError
from kodosumi_prefect.launch.typed_values import (
    Encoded,
    TooDeepError,
    TypeAt,
    decode,
    encode,
    type_name,
)
from kodosumi_prefect.settings import Settings, get_settings

LARGEST = 64 * 1024  # bytes of inputs as JSON, types included, that Prefect gets to keep


class Packed(NamedTuple):
    """Inputs on their way to a run.

    Attributes:
        visible: all of them as JSON, secret values masked; what people may see.
        parameters: what Prefect gets: the same as an object, or a note if that is too much.
        launch: of the parameter ``launch``: how the inputs are made of the parameters.
        row: values for the query ``store_payload``; None if Prefect gets everything.
    """

    visible: Any
    parameters: dict[str, Any]
    launch: dict[str, Any]
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
        inputs: what the entrypoint gets; any value that ``typed_values.encode`` takes.
        names: of the form's password fields.
        values: what was typed into them.
        for_schedule: for a schedule, whose runs all get them.

    Raises:
        LaunchError: one cannot travel to the run's process, or there is no key to encrypt secrets
            with.
        UnheldError: one is nested too deep, or contains invalid text.
    """
    encoded = _encoded(inputs)
    secret = mask_inputs(encoded.json, names, values, encoded.types)
    text = json.dumps(secret.inputs, ensure_ascii=False)
    types = json.dumps(encoded.types, ensure_ascii=False) if encoded.types else ""
    size = len(text.encode()) + len(types.encode())
    large = size > LARGEST
    launch = {
        "large": large,
        "types": [] if large else encoded.types,
        "whole": not isinstance(encoded.json, dict),
        "inputs_type": type_name(encoded.types),
    }
    parameters = {WHOLE: secret.inputs} if launch["whole"] else secret.inputs
    if not large and not secret.secrets:
        return Packed(secret.inputs, parameters, launch, None)
    row: dict[str, Any] = {
        "inputs": text if large else None,
        "types": types if large and types else None,
        "secrets": None,
        "kept": for_schedule,
    }
    if secret.secrets:
        try:
            box = run_keys(settings).box
        except NoKeyError as exc:
            raise FaultyServiceError(f"secret inputs cannot be stored: {exc}") from exc
        row["secrets"] = box.encrypt(json.dumps(secret.secrets).encode())
    note = {"kept": f"{size:,} bytes of inputs are stored in Kodosumi's database"}
    return Packed(secret.inputs, note if large else parameters, launch, row)


def unpack_inputs(inputs: dict[str, Any], launch: LaunchParameter, fid: str | None) -> Any:
    """The inputs as they were launched, in the process that runs them.

    Arguments:
        inputs: those among Prefect's parameters.
        launch: what the endpoint set for its run.
        fid: the run.

    Raises:
        PayloadError: a part of them cannot be read, or was deleted.
        UntravelledError: a class among them is not there any more, or does not take its values.
    """
    stored = inputs.get(WHOLE) if launch.whole else inputs
    types: list[TypeAt] = launch.types
    if launch.payload is not None:
        settings = get_settings()
        row = stored_inputs.take(settings, launch.payload, fid)
        if row.inputs is not None:
            stored = json.loads(row.inputs)
            types = json.loads(row.types) if row.types is not None else []
        if row.secrets is not None:
            stored = unmasked(stored, json.loads(run_keys(settings).box.decrypt(row.secrets)))
        elif row.inputs is None:
            raise stored_inputs.PayloadError(
                "this run's secret inputs were deleted when it ended; launch it again"
            )
    return decode(Encoded(stored, types)) if types else stored


def _encoded(inputs: Any) -> Encoded:
    try:
        encoded = encode(inputs)
    except UntravelledError as exc:
        raise FaultyServiceError(f"Launch got inputs that cannot travel: {exc}") from exc
    except TooDeepError as exc:
        raise UnheldError(Fault(exc.path[:1], f"is nested deeper than {DEEPEST} levels")) from exc
    # What JSON holds besides is checked by the field that it came from.
    parts = encoded.json.items() if isinstance(encoded.json, dict) else [("inputs", encoded.json)]
    for name, value in parts:
        wrong = fault(name, nul=True) or fault(value, nul=True, path=(name,))
        if wrong is not None:
            raise UnheldError(Fault(wrong.path or (name,), wrong.why))
    return encoded
