"""The panel from a program that uses asyncio."""

import asyncio
import json
import os
import ssl
from collections.abc import AsyncGenerator, Iterable, Mapping, Sequence
from contextlib import aclosing
from pathlib import Path
from typing import Any, Self
from uuid import uuid4

from kodosumi_prefect.client import transfer
from kodosumi_prefect.client.connection import Connection
from kodosumi_prefect.client.errors import AnsweredError, FieldsError, RestoredError, RunError
from kodosumi_prefect.client.transfer import Advance, LocalFile, local_files
from kodosumi_prefect.client.values import (
    CHANGES,
    Change,
    Endpoint,
    Event,
    Execution,
    Listed,
    Lock,
    StoredFile,
    shown,
)
from kodosumi_prefect.files.names import split_folder
from kodosumi_prefect.refusals import ConflictError
from kodosumi_prefect.vocabulary import API_KEY_HEADER, IDEMPOTENCY_HEADER, SETTING_PREFIX

KEY_VARIABLE = API_KEY_HEADER  # of the environment: named as the header it goes into
URL_VARIABLE = f"{SETTING_PREFIX}PANEL_URL"
TIMEOUT = 30.0  # seconds
PATIENCE = 60.0  # seconds
PER_PAGE = 100
FILES_PER_PAGE = 1000


class AsyncClient:
    """Asks a panel; an async context manager.

    Every method raises ``RefusedError``, of a kind of its own, with the panel's own words if it
    refuses, and ``UnreachableError`` if it does not answer. What can be asked twice without harm is
    tried again for as long as ``patience``; what can not, such as an answer to a lock, only if the
    panel was not reached at all.

    Example:
        ```python
        async with AsyncClient("https://panel.example.com", key="…") as client:
            fid = await client.launch("/-/127.0.0.1/8001/-/", {"topic": "tides"})
            async for event in client.follow(fid):
                print(event.kind, event.value)
        ```

    Arguments:
        url: of the panel; by default that of the environment,
            ``PREFECT_INTEGRATIONS_KODOSUMI_PANEL_URL``.
        key: an API key, by default ``KODOSUMI_API_KEY`` of the environment.
        login: name and password of an account in place of a key; a session that ends is begun anew.
        timeout: seconds for one answer.
        patience: seconds for which a panel that is away is tried again; ``math.inf`` for ever.
        trust_env: whether proxies and certificates of the environment count, as httpx has it.
        verify: which certificates are accepted, as httpx has it.

    Raises:
        ValueError: there is no address.
    """

    def __init__(
        self,
        url: str | None = None,
        *,
        key: str | None = None,
        login: tuple[str, str] | None = None,
        timeout: float = TIMEOUT,
        patience: float = PATIENCE,
        trust_env: bool = True,
        verify: ssl.SSLContext | bool = True,
    ) -> None:
        address = url or os.environ.get(URL_VARIABLE)
        if not address:
            raise ValueError(f"no address of a panel; give one, or set {URL_VARIABLE}")
        if key is None and login is None:
            key = os.environ.get(KEY_VARIABLE)
        self._panel = Connection(
            address,
            key=key,
            login=login,
            timeout=timeout,
            patience=patience,
            trust_env=trust_env,
            verify=verify,
        )

    @property
    def url(self) -> str:
        """The panel's address."""
        return self._panel.url

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *exc: object) -> None:
        await self.close()

    async def close(self) -> None:
        """Close all connections."""
        await self._panel.close()

    async def request(self, method: str, path: str, /, **more: Any) -> Any:
        """What any route of the panel answers, as JSON; None if that is nothing.

        Arguments:
            more: as of ``httpx.AsyncClient.request``: ``params``, ``json``, ``data``, ``headers``;
                ``harmless=True`` if it may be tried again after a lost answer.
        """
        return await self._panel.ask(method, path, **more)

    async def pages(self, path: str, /, **parameters: Any) -> AsyncGenerator[dict[str, Any]]:
        """All items of a list that the panel answers in pages, as JSON."""
        offset: str | None = None
        while True:
            query = {"pp": PER_PAGE, **parameters, **({"offset": offset} if offset else {})}
            page = await self._panel.ask("GET", path, params=query)
            for item in page["items"]:
                yield item
            offset = page.get("offset")
            if not offset:
                return

    async def endpoints(self, query: str = "") -> AsyncGenerator[Endpoint]:
        """What can be launched; ``query``: words of summary, tags or address."""
        async for item in self.pages("/flow", **({"q": query} if query else {})):
            yield Endpoint.of(item)

    async def form(self, endpoint: str) -> list[dict[str, Any]]:
        """The elements of an endpoint's form; ``endpoint`` is its ``url``."""
        described = await self._panel.ask("GET", endpoint)
        return list(described["elements"])

    async def shown(self, endpoint: str) -> dict[str, Any]:
        """What an endpoint's form is filled in with as it is shown."""
        return shown(await self.form(endpoint))

    async def launch(
        self,
        endpoint: str,
        inputs: Mapping[str, Any] | None = None,
        *,
        files: Mapping[str, Iterable[Path | str]] | None = None,
        key: str | None = None,
    ) -> str:
        """Launch an endpoint; the id of the execution.

        Arguments:
            endpoint: its ``url``, as ``endpoints`` has it.
            inputs: values of its form; ``shown`` has those that it is filled in with.
            files: files and folders for each of its fields for files.
            key: launches with the same key, by the same account within 24 hours, are one launch,
                also of another process; by default a new one, so that trying again after a lost
                answer launches nothing twice.

        Raises:
            FieldsError: the form is not filled in as it has to be.
            InvalidError: the key is that of a launch with other inputs.
            ConflictError: it is not known whether an earlier launch with this key began.
        """
        body = dict(inputs or {})
        for name, paths in (files or {}).items():
            chosen = [file for path in paths for file in local_files(Path(path))]
            body[name] = await transfer.sent(self._panel, chosen)
        headers = {IDEMPOTENCY_HEADER: key or str(uuid4())}
        answer = await self._panel.ask("POST", endpoint, json=body, headers=headers, harmless=True)
        _require_accepted(answer)
        return str(answer["result"])

    async def status(self, fid: str) -> Execution:
        """How an execution stands; one that was just launched is waited for, for 30 seconds."""
        return Execution.of(
            await self._panel.ask("GET", f"/outputs/status/{fid}", params={"extended": True})
        )

    async def follow(
        self, fid: str, after: int = 0, *, spans: bool = False
    ) -> AsyncGenerator[Event]:
        """Events of an execution, live, until it is over; each once, whatever breaks meanwhile.

        Arguments:
            after: the ``seq`` of the last event that is known.
            spans: ``span`` events, too.

        Raises:
            RestoredError: the panel's database was restored to before ``after``.
        """
        params = {"extended": "true", **({"spans": "true"} if spans else {})}
        sent = self._panel.events(f"/outputs/stream/{fid}", str(after or ""), params)
        seq = after
        async with aclosing(sent):
            async for event, id_, data in sent:
                if event == "eof":
                    return
                if event == "reset":
                    raise RestoredError(f"execution {fid} has fewer events than {seq} now")
                if event != "alive" and int(id_) > seq:
                    seq = int(id_)
                    ts, _, payload = data.partition(":")
                    yield Event(seq, float(ts), event, payload)

    async def wait(self, fid: str, timeout: float | None = None) -> Execution:
        """How an execution ended.

        Arguments:
            timeout: seconds.

        Raises:
            TimeoutError: it has not ended by then.
        """
        async with asyncio.timeout(timeout):
            # Only what the agent itself says: not all that it prints.
            params = {"extended": "true", "raw": "true"}
            sent = self._panel.events(f"/outputs/main/{fid}", "", params)
            async with aclosing(sent):
                async for event in sent:
                    if event.event == "eof":
                        break
            return await self.status(fid)

    async def result(self, fid: str, timeout: float | None = None) -> Any:
        """The result of an execution, once it is over, as ``Execution.value`` has it.

        Raises:
            RunError: it failed or was cancelled, with its message.
            TimeoutError: as ``wait``.
        """
        execution = await self.wait(fid, timeout)
        if execution.status == "error":
            raise RunError(fid, str(getattr(execution.value, "body", "")))
        return execution.value

    async def executions(
        self,
        query: str = "",
        *,
        status: Sequence[str] = (),
        flow: str | None = None,
        tag: str | None = None,
        owner: str | None = None,
    ) -> AsyncGenerator[Listed]:
        """Executions, newest first; all conditions hold.

        Arguments:
            query: words that begin words of name, summary, tags, inputs.
            status: any of these.
            owner: id of an account.
        """
        asked = {"q": query, "status": list(status), "flow": flow, "tag": tag, "owner": owner}
        async for item in self.pages("/timeline/list", **_given(asked)):
            yield Listed.of(item)

    async def cancel(self, fid: str) -> str:
        """Cancel an execution; the name of its state in Prefect now.

        Raises:
            ConflictError: it is over.
        """
        answer = await self._panel.ask("POST", f"/outputs/{fid}/cancel", harmless=True)
        return str(answer["state"])

    async def locks(self) -> AsyncGenerator[Lock]:
        """Open locks that this account may answer, newest first."""
        async for item in self.pages("/locks"):
            yield Lock.of(item)

    async def elements(self, fid: str, lid: str) -> list[dict[str, Any]]:
        """The form of an open lock; empty if any object is an answer.

        Raises:
            NotFoundError: it is not open.
        """
        return list(await self._panel.ask("GET", f"/lock/{fid}/{lid}"))

    async def answer(self, fid: str, lid: str, values: Mapping[str, Any] | None = None) -> Any:
        """Answer a lock: the run continues with the result, which is returned.

        Raises:
            FieldsError: the form is not filled in as it has to be; the run waits on.
            AnsweredError: somebody was faster.
            NotFoundError: it has expired, its run is over, or it is none of this account's.
            UnreachableError: the answer was lost on its way: look at the execution before trying
                again.
        """
        try:
            answer = await self._panel.ask("POST", f"/lock/{fid}/{lid}", json=dict(values or {}))
        except ConflictError as exc:
            raise AnsweredError(exc.detail) from exc
        _require_accepted(answer)
        return answer.get("result")

    async def changes(
        self,
        since: str | None = None,
        *,
        kind: Sequence[str] = (),
        status: Sequence[str] = (),
        service: str | None = None,
        flow: str | None = None,
        owner: str | None = None,
    ) -> AsyncGenerator[Change]:
        """What changes of executions and locks, live and without end; each change once.

        Arguments:
            since: the ``position`` of the last change that is known, ``"0"`` for all there is;
                by default only what changes from now on. Keep to the same conditions.
            kind: ``execution``, ``lock``, ``deletion``; all by default.
            status: of executions, and of locks ``open``, ``leased``, ``expired``, ``void``.
            service: address of the service that launched.
            owner: id of an account, for operators.

        Raises:
            RestoredError: the panel's database was restored to before ``since``.
        """
        asked = {"kind": list(kind), "status": list(status), "service": service, "flow": flow}
        params = _given(asked | {"owner": owner})
        sent = self._panel.events("/changes", since or "", params)
        async with aclosing(sent):
            async for event, position, data in sent:
                if event == "reset":
                    raise RestoredError(f"{self.url} does not know position {since} any more")
                if (made := CHANGES.get(event)) is not None:
                    yield made.of(json.loads(data), position=position)

    async def files(self, fid: str, path: str = "") -> list[StoredFile]:
        """Files of an execution: one, those of a folder such as ``out/report``, or all.

        Raises:
            FileNameError: ``path`` is in neither ``in/`` nor ``out/``.
        """
        chosen = [split_folder(path)] if path else [split_folder("in"), split_folder("out")]
        found: list[StoredFile] = []
        for direction, folder in chosen:
            place = f"{direction}/{folder}" if folder else str(direction)
            after = ""
            while True:
                more = {"after": after} if after else {}
                query = {"details": "true", "limit": FILES_PER_PAGE, **more}
                some = await self._panel.ask("GET", f"/files/{fid}/{direction}", params=query)
                listed = [StoredFile.of(each) for each in some]
                found += [f for f in listed if f.path == place or f.path.startswith(f"{place}/")]
                if len(some) < FILES_PER_PAGE:
                    break
                after = str(some[-1]["path"])
        return found

    async def upload(
        self,
        fid: str,
        source: Path | str | Sequence[LocalFile],
        path: str = "in/",
        *,
        notes: Path | None = None,
        advance: Advance = transfer.nothing,
    ) -> list[StoredFile]:
        """Give an execution a file or a folder; lost connections are gone on from.

        Arguments:
            source: what to send, or files with the paths that they get below ``in`` or ``out``.
            path: what it is to be called, such as ``in/notes.txt``; below a folder if it ends with
                a slash.
            notes: a folder where it is noted what was sent, so that the next call with the same
                files goes on, also of another process.
            advance: told how many bytes have gone, again and again.

        Raises:
            FileNotFoundError: there is no such file.
            FileNameError: no file of a run can have such a name.
        """
        direction, _ = split_folder(path)
        if isinstance(source, Path | str):
            source = local_files(Path(source), path.partition("/")[2])
        await transfer.give(self._panel, fid, str(direction), source, notes, advance)
        paths = {f"{direction}/{file.path}" for file in source}
        return [each for each in await self.files(fid, str(direction)) if each.path in paths]

    async def sent(self, files: Sequence[LocalFile], *, advance: Advance = transfer.nothing) -> str:
        """Send files ahead of a launch; the value of the form's field that they are for."""
        return await transfer.sent(self._panel, files, advance)

    async def download(
        self,
        fid: str,
        file: StoredFile | str,
        target: Path | str,
        *,
        advance: Advance = transfer.nothing,
    ) -> Path:
        """Download a file; one that broke off, also in another process, goes on.

        Arguments:
            file: one of ``files``, or its path.
            target: where to save it, or a folder that there is.

        Raises:
            FileNotFoundError: the execution has no such file.
            DamagedError: its hash is not that of what was stored.
        """
        if isinstance(file, str):
            found = [each for each in await self.files(fid, file) if each.path == file]
            if not found:
                raise FileNotFoundError(f"execution {fid} has no file {file}")
            [file] = found
        saved = Path(target)
        if await asyncio.to_thread(saved.is_dir):
            saved /= file.path.rpartition("/")[2]
        await transfer.fetch(self._panel, fid, file, saved, advance)
        return saved


def _require_accepted(answer: Mapping[str, Any]) -> None:
    if errors := answer.get("errors"):
        raise FieldsError(errors, answer.get("elements"))


def _given(asked: Mapping[str, Any]) -> dict[str, Any]:
    return {name: value for name, value in asked.items() if value}
