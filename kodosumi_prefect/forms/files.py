"""A field for files, whose contents were uploaded before."""

import json
from typing import Any, ClassVar

from kodosumi_prefect.forms.element import Field, RefusedValueError, Value, empty

NOT_YET = "cannot be received by this version; files come with a later release"


class InputFiles(Field):
    """Files, which a later release receives: until then one that is chosen is refused.

    Arguments:
        multiple: whether there may be several.
        directory: whether people choose a folder.
    """

    type: ClassVar[str] = "file"
    attributes: ClassVar[tuple[str, ...]] = (
        "name",
        "label",
        "value",
        "required",
        "multiple",
        "directory",
    )

    def __init__(
        self,
        name: str,
        label: str | None = None,
        value: str | None = None,
        required: bool = False,
        multiple: bool = False,
        directory: bool = False,
        error: list[str] | None = None,
    ) -> None:
        self.name = name
        self.label = label
        self.value = value
        self.required = required
        self.multiple = multiple
        self.directory = directory
        self.error = error

    def read(self, posted: Value) -> Any:
        if self.required or not (empty(posted) or _is_empty_batch(posted)):
            raise RefusedValueError(NOT_YET)
        return None


def _is_empty_batch(posted: Value) -> bool:
    """Whether it is what Kodosumi's clients post for no file: a batch without items."""
    try:
        batch = json.loads(posted) if isinstance(posted, str) else None
    except (ValueError, RecursionError):
        return False
    return isinstance(batch, dict) and not batch.get("items")
