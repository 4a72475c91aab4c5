"""Headers as the database can hold them."""

from hashlib import sha256
from typing import Any, cast

from kodosumi_prefect.events import clean, describe
from kodosumi_prefect.spooler.batch import Header

NOT_TEXT = ("deployment_id", "tags", "deprecated", "process", "schedule")
TEXTS = tuple(name for name in Header.__annotations__ if name not in NOT_TEXT)
BESIDE = ("process", "schedule", "run_name")  # stored by queries of their own
DESCRIBED = tuple(name for name in Header.__annotations__ if name not in BESIDE)
REFUSED = "[refused by Postgres]"  # stands in for a text that it did not take

# Of what indexes hold: most bytes, and characters that are left of what has more; as the trigger
# bound_header has it.
_BOUNDS = {"app_url": (1000, 250), "flow_name": (800, 200), "owner": (600, 100)}


def bounded(header: Header) -> dict[str, Any]:
    """The header with no text that is too long for an index."""
    values: dict[str, Any] = dict(header)
    for name, (most, left) in _BOUNDS.items():
        text = values.get(name)
        if not isinstance(text, str) or len(text) * 4 <= most:
            continue
        encoded = text.encode(errors="replace")
        if len(encoded) > most:
            # Owners that begin alike stay two: each sees what is theirs.
            end = f"~{sha256(encoded).hexdigest()}" if name == "owner" else ""
            values[name] = text[:left] + end
    return values


def tidied(header: Header) -> Header:
    """The header with storable text, and text where text belongs."""
    values: dict[str, Any] = dict(header)
    for name, value in values.items():
        if isinstance(value, str):
            values[name] = clean(value)
        elif name in TEXTS and value is not None:
            values[name] = clean(describe(value))
        elif isinstance(value, list):
            values[name] = [clean(describe(item)) for item in value]
    return cast(Header, values)
