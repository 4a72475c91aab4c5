"""A field for files, whose contents are uploaded before the form is sent."""

import json
import mimetypes
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, ClassVar, NamedTuple
from uuid import UUID

from pydantic import GetJsonSchemaHandler
from pydantic_core import CoreSchema

from kodosumi_prefect.forms.element import Field, RefusedValueError, Value, empty, json_type, text

FORMAT = "kodosumi-files"  # of a JSON schema whose value is the name of a file, or names of some
WRITTEN = '{"batchId": …, "items": {upload_id: {"filename": …}}}'


class SentFiles(NamedTuple):
    """What somebody chose in a field for files.

    Attributes:
        field: its name.
        batch: id of what they uploaded together; None if nothing is chosen.
        names: of the files, by the ids of their uploads.
        max_bytes: most bytes of each; None for no limit of the field's own.
    """

    field: str
    batch: str | None
    names: dict[str, str]
    max_bytes: int | None = None


@dataclass(frozen=True, slots=True)
class KnownNames:
    """Names that a form gave earlier; nothing that is posted is one.

    Attributes:
        names: a list of them, or one name.
    """

    names: Any


class InputFiles(Field):
    """Files; the handler gets the set of their names, and the run finds them in ``in/``.

    Example:
        ```python
        InputFiles("papers", "Papers", required=True, multiple=True, accept=".pdf,text/*")
        ```

    Nothing chosen is None.

    Arguments:
        multiple: whether there may be several.
        directory: whether people choose a folder; names have slashes then.
        accept: suffixes (``.pdf``) and media types (``image/*``) that are taken, as in HTML.
        max_bytes: most bytes of each file.
        max_files: most files.
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
    further: ClassVar[tuple[str, ...]] = ("accept", "max_bytes", "max_files")

    def __init__(
        self,
        name: str,
        label: str | None = None,
        value: str | None = None,
        required: bool = False,
        multiple: bool = False,
        directory: bool = False,
        error: list[str] | None = None,
        accept: str | None = None,
        max_bytes: int | None = None,
        max_files: int | None = None,
    ) -> None:
        self.name = name
        self.label = label
        self.value = value
        self.required = required
        self.multiple = multiple
        self.directory = directory
        self.error = error
        self.accept = accept
        self.max_bytes = max_bytes
        self.max_files = max_files

    def posted(self, posted: Value) -> Any:
        return self.read(posted)

    def read(self, posted: Value) -> Any:
        if isinstance(posted, KnownNames):
            return posted.names
        sent = self.sent(posted)
        return None if sent is None else set(sent.names.values())

    def sent(self, posted: Value) -> SentFiles | None:
        """What was chosen; None if the field was left as it was.

        Raises:
            RefusedValueError: it is not what uploading makes, or not as many or such files as the
                field takes.
        """
        if empty(posted):
            if self.required:
                raise RefusedValueError("is required")
            return None
        content = _content(posted)
        names = _names(content.get("items"))
        if not names:
            if self.required:
                raise RefusedValueError("is required")
            return SentFiles(str(self.name), None, {}, self.max_bytes)
        self._check(list(names.values()))
        try:
            batch = str(UUID(content["batchId"]))
        except (KeyError, ValueError, TypeError, AttributeError):
            raise RefusedValueError("has files without the batchId of their upload") from None
        return SentFiles(str(self.name), batch, names, self.max_bytes)

    def _check(self, names: Sequence[str]) -> None:
        most = self.max_files
        if not (self.multiple or self.directory):
            most = 1
        if most is not None and len(names) > most:
            files = "one file" if most == 1 else f"at most {most} files"
            raise RefusedValueError(f"takes {files}, not {len(names)}")
        for name in names:
            if self.accept and not accepts(self.accept, name):
                raise RefusedValueError(f"does not take {name[:100]}, only {self.accept}")


class NamedFiles(InputFiles):
    """Files whose names are data of JSON: a list, or of a single one the name itself.

    Arguments:
        single: the value is one name.
    """

    def __init__(self, name: str, *, single: bool = False, **more: Any) -> None:
        super().__init__(name, **more)
        self._single = single

    def read(self, posted: Value) -> Any:
        if isinstance(posted, KnownNames):
            names = [posted.names] if isinstance(posted.names, str) else list(posted.names)
        else:
            sent = self.sent(posted)
            if sent is None:
                return None
            names = sorted(sent.names.values())
        return (names[0] if names else None) if self._single else names


@dataclass(frozen=True)
class Files:
    """Marks text of a flow's parameter, or of a pydantic model, as the name of a file.

    Example:
        ```python
        @flow
        def digest(
            papers: Annotated[list[str], Files(accept=".pdf", max_files=10)],
            cover: Annotated[str | None, Files(accept="image/*")] = None,
        ) -> None: ...
        ```

    Its form has a field where the files are chosen; the flow gets the names, and finds the files
    in ``in/``.

    Arguments:
        accept, max_bytes, max_files, directory: as ``InputFiles`` has them.
    """

    accept: str | None = None
    max_bytes: int | None = None
    max_files: int | None = None
    directory: bool = False

    def __get_pydantic_json_schema__(
        self, core_schema: CoreSchema, handler: GetJsonSchemaHandler
    ) -> dict[str, Any]:
        more = {
            "accept": self.accept,
            "maxBytes": self.max_bytes,
            "maxFiles": self.max_files,
            "directory": self.directory or None,
        }
        own = {name: value for name, value in more.items() if value is not None}
        return {**handler(core_schema), "format": FORMAT, **own}


def field_of_schema(name: str, schema: Mapping[str, Any], kind: str | None) -> NamedFiles:
    """The field of a schema with our format.

    Arguments:
        kind: the schema's type.
    """
    single = kind == "string"
    return NamedFiles(
        name,
        single=single,
        multiple=not single,
        directory=schema.get("directory") is True,
        accept=schema.get("accept"),
        max_bytes=schema.get("maxBytes"),
        max_files=schema.get("maxFiles", schema.get("maxItems")),
    )


def accepts(accept: str, name: str) -> bool:
    """Whether a file of this name is among those that ``accept`` lists.

    Of a name that tells no media type, only suffixes decide.
    """
    tokens = [token for each in accept.split(",") if (token := each.strip().casefold())]
    suffixes = [token for token in tokens if token.startswith(".")]
    types = [token for token in tokens if not token.startswith(".")]
    if not tokens or any(name.casefold().endswith(suffix) for suffix in suffixes):
        return True
    kind = mimetypes.guess_type(name.rpartition("/")[2])[0]
    if kind is None:
        return bool(types)
    return any(token in ("*", "*/*", kind, f"{kind.partition('/')[0]}/*") for token in types)


def _content(posted: Value) -> Mapping[str, Any]:
    if isinstance(posted, str):
        try:
            posted = json.loads(posted)
        except (ValueError, RecursionError):
            raise RefusedValueError(
                f"is no files: upload them first, then send {WRITTEN} as JSON"
            ) from None
    if not isinstance(posted, Mapping):
        raise RefusedValueError(f"must be {WRITTEN} as JSON, not {json_type(posted)}")
    return posted


def _names(items: Any) -> dict[str, str]:
    """The names of files, by the ids of their uploads."""
    if items is None:
        items = {}
    if not isinstance(items, Mapping):
        raise RefusedValueError(f"must be {WRITTEN} as JSON; its items are {json_type(items)}")
    names = {}
    for upload, item in items.items():
        try:
            id_ = str(UUID(upload))
        except (ValueError, TypeError, AttributeError):
            raise RefusedValueError(f"has {str(upload)[:100]!r}, which is no upload's id") from None
        name = item.get("filename") if isinstance(item, Mapping) else None
        if not isinstance(name, str) or not name:
            raise RefusedValueError(f"has no filename for the upload {id_}")
        names[id_] = text(name)
    if len(set(names.values())) < len(names):
        raise RefusedValueError("has two files of the same name")
    return names
