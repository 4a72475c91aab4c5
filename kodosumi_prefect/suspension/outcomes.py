"""What calls returned or raised, as bytes.

Classes of a module that a process may know under the same name without being able to import it,
as one that Prefect loaded from a file, are referred to by that name, and come along by value for
processes that lack it.
"""

import io
import pickle
import sys
from typing import Any

import cloudpickle  # type: ignore[import-untyped]

VALUE, STATE, ERROR, DEFERRED = "value", "state", "error", "deferred"


class NotKeptError(Exception):
    """A result cannot be kept; why, in words that follow the name of its task."""


def dumped(value: Any) -> bytes:
    """A value as bytes.

    Raises:
        NotKeptError: it does not pickle.
    """
    buffer = io.BytesIO()
    try:
        _Pickler(buffer).dump(value)
    except Exception as exc:  # whatever a class of the author's raises
        raise NotKeptError(f"its result does not pickle: {_line(exc)}") from exc
    return buffer.getvalue()


def dumped_error(error: BaseException) -> bytes:
    """An exception as bytes, without its traceback.

    Raises:
        NotKeptError: it does not pickle, or does not come back.
    """
    try:
        content = dumped(error)
        loaded(content)
    except Exception as exc:
        reason = exc.__cause__ if isinstance(exc, NotKeptError) else exc
        raise NotKeptError(
            f"the {type(error).__name__} that it raised does not pickle: {_line(reason or exc)}"
        ) from exc
    return content


def loaded(content: bytes) -> Any:
    """The value; raises whatever unpickling raises."""
    return _Unpickler(io.BytesIO(content)).load()


class _Pickler(cloudpickle.Pickler):  # type: ignore[misc]
    def persistent_id(self, obj: Any) -> tuple[str, str, bytes] | None:
        if not isinstance(obj, type):
            return None
        module, name = obj.__module__, obj.__qualname__
        if "<locals>" in name or _is_importable(module):
            return None
        return module, name, cloudpickle.dumps(obj)


class _Unpickler(pickle.Unpickler):
    def persistent_load(self, pid: Any) -> Any:
        module, name, by_value = pid
        found = sys.modules.get(module)
        try:
            for part in name.split("."):
                found = getattr(found, part)
        except AttributeError:
            return pickle.loads(by_value)
        return found


def _is_importable(module: str) -> bool:
    known = sys.modules.get(module)
    if known is None or module == "__main__":
        return False
    spec = getattr(known, "__spec__", None)
    # Prefect makes a module of a script with a package's search path.
    path = getattr(known, "__file__", None) or ""
    return (
        spec is None
        or spec.submodule_search_locations is None
        or not path
        or path.endswith("__init__.py")
    )


def _line(exc: BaseException) -> str:
    return (" ".join(str(exc).split()) or type(exc).__name__)[:300]
