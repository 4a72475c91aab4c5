"""A field for files, whose contents were uploaded before."""

import json
from typing import Any, ClassVar

from kodosumi_prefect.forms.element import Field, RefusedValueError, Value


class InputFiles(Field):
    """Files; handlers get the set of their names.

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

    def parse(self, posted: Value) -> Any:
        try:
            batch = json.loads(posted) if isinstance(posted, str) else None
            names = {item["filename"] for item in batch["items"].values()} if batch else None
        except (ValueError, RecursionError, KeyError, TypeError, AttributeError):
            names = None
        if names is None or not all(isinstance(name, str) for name in names):
            raise RefusedValueError("must be files uploaded before, as {batchId, items}")
        if len(names) > 1 and not (self.multiple or self.directory):
            raise RefusedValueError(f"takes one file, not {len(names)}")
        if not names and self.required:
            raise RefusedValueError("is required")
        return names
