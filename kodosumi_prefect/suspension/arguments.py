"""What a call was given, so that it can be compared with that of another leg."""

import hashlib
from collections.abc import Callable, Mapping
from typing import Any
from uuid import UUID

import orjson
from prefect.utilities.engine import collect_task_run_inputs_sync

OPTIONS = orjson.OPT_NON_STR_KEYS | orjson.OPT_SORT_KEYS
Origin = Callable[[UUID], str | None]  # the path of the call that is a task run


def compared(parameters: Mapping[str, Any], origin: Origin) -> tuple[str | None, frozenset[str]]:
    """Digests by parameter as JSON, and which parameters are what other calls returned.

    Values that JSON has are compared as they are, futures and other results by the call that
    they are from. Others are left out: they are taken to be the same in every leg.
    """
    digests: dict[str, str] = {}
    derived: set[str] = set()
    for name, value in parameters.items():
        origins = None
        if not isinstance(value, _PLAIN):
            origins = _origins(value, origin)
        if origins is not None:
            derived.add(name)
        try:
            content = orjson.dumps(value, default=_content, option=OPTIONS)
        except (TypeError, ValueError, RecursionError):
            if origins is None:
                continue
            content = origins.encode()
        digests[name] = hashlib.blake2b(content, digest_size=12).hexdigest()
    return (orjson.dumps(digests, option=OPTIONS).decode() if digests else None), frozenset(derived)


def _origins(value: Any, origin: Origin) -> str | None:
    try:
        inputs = collect_task_run_inputs_sync(value)
    except Exception:  # of a class of the author's that cannot be looked into
        return None
    paths = [origin(run.id) for run in inputs if getattr(run, "input_type", "") == "task_run"]
    if not paths or None in paths:
        return None
    return "\n".join(sorted(path for path in paths if path is not None))


def _content(value: Any) -> Any:
    dump = getattr(type(value), "model_dump", None)
    if dump is not None:
        return dump(value, mode="json")
    raise TypeError


_PLAIN = (bool, int, float, type(None))
