"""Forms that are posted with files in them, as by a browser without scripts.

Files go to the storage while they come in. The fields that they were chosen in are then what the
panel's script makes of them: the names of uploads.
"""

import json
from collections.abc import Mapping
from contextlib import suppress
from typing import Any, NamedTuple
from uuid import NAMESPACE_OID, UUID, uuid5

from starlette.requests import Request

from kodosumi_prefect.files.names import comparable
from kodosumi_prefect.http.body import LARGEST, MOST_FIELDS, TooLargeError, read_body
from kodosumi_prefect.http.multipart import Part, is_multipart, parts
from kodosumi_prefect.panel.accounts.permissions import User
from kodosumi_prefect.panel.files.arriving import Arrived, ArrivingFiles
from kodosumi_prefect.panel.html.forms import FIELD, LEFT_OUT, ONE_FILE, SOME_FILES
from kodosumi_prefect.panel.web.state import State
from kodosumi_prefect.refusals import RefusedError


class PostedForm(NamedTuple):
    """What was posted.

    Attributes:
        fields: as the form names them.
        errors: why files were not taken, by their field's name to its service.
    """

    fields: dict[str, Any]
    errors: dict[str, list[str]]


async def read_form(request: Request, panel: State, user: User, key: str) -> PostedForm:
    """The fields of a form, and in their place the files that came with them.

    Arguments:
        user: whose the files are.
        key: of the form, or the name of the field that holds it; the same files in the same form
            are the same uploads.

    Raises:
        HTTPException: as ``read_body``; 413 also for fields that are too large.
    """
    if not is_multipart(request.headers.get("content-type", "")):
        return PostedForm(await read_body(request), {})
    form = _Form(panel, user)
    async for part in parts(request):
        await form.take(part)
    return await form.settled(key)


class _Form:
    """A form part by part."""

    def __init__(self, panel: State, user: User) -> None:
        self._user = user
        self._files = ArrivingFiles(panel, user)
        self._fields: dict[str, Any] = {}
        self._most = MOST_FIELDS + panel.settings.execution_files
        self._parts = 0
        self._size = 0  # bytes of the fields
        self._chosen: dict[str, list[Arrived]] = {}
        self._left_out: dict[str, set[str]] = {}
        self._single: set[str] = set()  # fields that take one file
        self._errors: dict[str, list[str]] = {}

    async def take(self, part: Part) -> None:
        """Read a part to its end."""
        self._parts += 1
        if self._parts > self._most:
            raise TooLargeError
        if part.filename is None:
            text = await self._text(part)
            if part.name.startswith(LEFT_OUT):
                self._left_out.setdefault(part.name.removeprefix(LEFT_OUT), set()).add(text)
            elif not part.name.startswith((ONE_FILE, SOME_FILES)):
                self._fields[part.name] = text
        elif part.filename:
            await self._file(part, part.filename)

    async def settled(self, key: str) -> PostedForm:
        """The form, of which all parts were read."""
        form = str(self._fields.get(key) or key)
        ours = any(name.startswith(FIELD) for name in self._fields)
        for field in {**self._chosen, **self._left_out}:
            name = FIELD + field if ours else field
            self._fields[name] = await self._value(field, _read(self._fields.get(name)), form)
        with suppress(RefusedError):  # it goes as all uploads that nobody uses
            await self._files.forget()
        return PostedForm(self._fields, self._errors)

    async def _text(self, part: Part) -> str:
        content = bytearray()
        async for piece in part.pieces:
            content += piece
            self._size += len(piece)
            if self._size > LARGEST:
                raise TooLargeError
        return content.decode(errors="replace")

    async def _file(self, part: Part, filename: str) -> None:
        field = part.name
        if field.startswith(ONE_FILE):
            field = field.removeprefix(ONE_FILE)
            self._single.add(field)
        field = field.removeprefix(SOME_FILES)
        try:
            arrived = await self._files.store(filename, part.pieces)
        except RefusedError as exc:
            self._refuse(field, f"{filename[:100]}: {exc.detail}")
            return
        self._chosen.setdefault(field, []).append(arrived)

    async def _value(self, field: str, known: "_Known", form: str) -> str:
        """What the field has now: what it had, without what is left out, and what came."""
        chosen = self._chosen.get(field, [])
        if field in self._single and chosen:
            known = _Known(known.batch, {}, None)
        known = known.without(self._left_out.get(field, set()))
        names = {comparable(name) for name in known.names}
        new: list[Arrived] = []
        for each in chosen:
            if comparable(each.path) in names:
                self._refuse(field, f"{each.path} is there already")
                continue
            names.add(comparable(each.path))
            new.append(each)
        told = sorted((each.path, each.written.sha256) for each in new)
        batch = known.batch or str(
            uuid5(NAMESPACE_OID, json.dumps([self._user.id, form, field, told]))
        )
        try:
            items = await self._files.add_to(batch, new) if new else {}
        except RefusedError as exc:
            self._refuse(field, exc.detail)
            items = {}
        return known.with_items(batch, items).value

    def _refuse(self, field: str, why: str) -> None:
        self._errors.setdefault(field, []).append(why)


class _Known(NamedTuple):
    """What a field for files has already.

    Attributes:
        items: names by the ids of uploads.
        again: files of an earlier run that go along: its ``fid`` and their ``names``.
    """

    batch: str | None
    items: dict[str, Any]
    again: Mapping[str, Any] | None

    @property
    def names(self) -> list[str]:
        own = [str(each.get("filename")) for each in self.items.values()]
        return own + ([] if self.again is None else list(self.again["names"]))

    def without(self, names: set[str]) -> "_Known":
        items = {id_: each for id_, each in self.items.items() if each["filename"] not in names}
        again = self.again
        if again is not None:
            left = [name for name in again["names"] if name not in names]
            again = {**again, "names": left} if left else None
        return self._replace(items=items, again=again)

    def with_items(self, batch: str, names: Mapping[str, str]) -> "_Known":
        new = {id_: {"filename": name, "totalChunks": 0} for id_, name in names.items()}
        return self._replace(batch=batch, items=self.items | new)

    @property
    def value(self) -> str:
        if not self.items and self.again is None:
            return ""
        again = {} if self.again is None else {"again": self.again}
        return json.dumps({"batchId": self.batch, "items": self.items, **again})


def _read(value: Any) -> _Known:
    """What a field's value says; nothing if it says nothing that makes sense."""
    try:
        content = json.loads(value or "{}")
        batch, items, again = (content.get(name) for name in ("batchId", "items", "again"))
        if again is not None:
            again = {"fid": str(UUID(again["fid"])), "names": [str(n) for n in again["names"]]}
        items = {str(UUID(id_)): dict(each) for id_, each in (items or {}).items()}
        if not all(isinstance(each["filename"], str) for each in items.values()):
            raise TypeError
        return _Known(None if batch is None else str(UUID(batch)), items, again)
    except (ValueError, TypeError, KeyError, AttributeError):
        return _Known(None, {}, None)
