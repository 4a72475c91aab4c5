"""The Tracer: what authors call to put something into the event stream of their run."""

import asyncio
import json
import sys
import time
import traceback
from collections.abc import Generator
from typing import TYPE_CHECKING, Any, Unpack
from uuid import UUID

from kodosumi_prefect import budgets
from kodosumi_prefect.error import KodosumiError
from kodosumi_prefect.events import Event, Kind, plain, serialize
from kodosumi_prefect.files.access import access_to, given_access, learn_access
from kodosumi_prefect.files.tokens import fid_of
from kodosumi_prefect.locks.asking import Asking, AskOptions
from kodosumi_prefect.locks.question import Question, Wording, ask_here
from kodosumi_prefect.response import HTML, Markdown, Text
from kodosumi_prefect.scope import (
    Scope,
    arrivals,
    attach_adapters,
    current_scope,
    event_source,
    known_place,
    known_scope,
    travelled,
    uses,
)
from kodosumi_prefect.settings import database_url, get_settings
from kodosumi_prefect.spans.contents import kept_payload
from kodosumi_prefect.spans.recording import Place, Span, current_span
from kodosumi_prefect.spans.span import SpanType
from kodosumi_prefect.spooler.client import SpoolClient, get_client
from kodosumi_prefect.spooler.route import learn_instance

if TYPE_CHECKING:
    # Imported at their first use: most runs have no files.
    from kodosumi_prefect.run_files import AsyncFileSystem, FileSystem
    from kodosumi_prefect.run_files.file_system import Content

INSTANCE_WAIT = 0.5  # seconds that pickling waits for a process's first connection


class NoRunError(RuntimeError):
    """A tracer was used where there is no run."""


class _Done:
    """What recording methods return: it happened already, awaiting it is allowed and free."""

    __slots__ = ()

    def __await__(self) -> Generator[None, None, None]:
        return
        yield


DONE = _Done()


class Tracer:
    """Records events of one run, from any thread, process or node that holds it.

    Each method but ``flush``, ``lock`` and ``fs`` records at the call and costs microseconds. It
    returns an awaitable that is done, so it is called the same way in sync and async code; the
    ``…_sync`` names do the same.

    Example:
        ```python
        from kodosumi_prefect import Tracer, flow

        @flow
        async def greet(inputs: dict, tracer: Tracer) -> str:
            await tracer.markdown("# Hello", "This is *live*.")
            return "done"
        ```

    A tracer can be pickled: hand it to Prefect tasks, ``@ray.remote`` functions and actors.
    """

    _span: str | None = None  # the one that it was pickled in
    _place: Place | None = None  # where spans went the last time

    def __init__(self, scope: Scope, client: SpoolClient | None = None) -> None:
        self._own = scope
        self._client = client
        self._arrived = False

    @classmethod
    def connect(cls, fid: str | None = None) -> "Tracer":
        """A tracer of a run that is executed elsewhere, for a process that is no part of it.

        It records to the database that this process knows; without one through the panel, with
        ``panel_url`` and the ``run_token`` that ``kodosumi-prefect token`` prints.

        Example:
            ```python
            tracer = Tracer.connect()
            tracer.markdown("# Said from elsewhere")
            ```

        Arguments:
            fid: the execution: the id of its Prefect flow run; default the one of the token.

        Raises:
            KodosumiError: there is no way from here to record into it.
        """
        settings = get_settings()
        token = settings.run_token.get_secret_value() if settings.run_token else ""
        fid = str(UUID(fid)) if fid is not None else fid_of(token)
        if fid is None:
            raise KodosumiError("which run? give its id, or set run_token to a token of it")
        if database_url(settings) is None and given_access(fid, settings) is None:
            raise KodosumiError(
                f"this process knows no database, nor a panel and a token of execution {fid}: set "
                f"panel_url, and run_token to what `kodosumi-prefect token {fid}` prints"
            )
        return cls(Scope(fid, attempt=0))

    def __reduce__(self) -> tuple[Any, ...]:
        # Neither connection nor settings travel along: they hold secrets. The database's id is
        # none; where this process does not know it yet, Ray workers would not know whom to tell.
        scope = self._scope()
        travelled.add(scope.fid)
        instance = self._sink().instance(INSTANCE_WAIT if "ray" in sys.modules else 0.0)
        # As attributes: a process with an older version arrives at a tracer all the same.
        access = access_to(scope.fid, get_settings())
        state = {
            "_access": None if access is None else tuple(access),
            "_span": current_span(scope.fid) or self._span,
        }
        return _arrive, (scope, instance), state

    def __setstate__(self, state: dict[str, Any]) -> None:
        if (access := state.get("_access")) is not None:
            learn_access(self._own.fid, access)
        self._span = state.get("_span")

    def __repr__(self) -> str:
        return f"Tracer(fid={self.fid!r})"

    @property
    def fid(self) -> str:
        """The execution this tracer records to: the id of its root Prefect flow run."""
        return self._scope().fid

    def debug(self, *message: Any) -> _Done:
        """Record ``debug`` text; several arguments are joined with newlines."""
        return self._put(Kind.DEBUG, _joined("\n", message))

    def result(self, *message: Any) -> _Done:
        """Record an intermediate ``result`` for each argument."""
        for value in message:
            self._put(Kind.RESULT, serialize(value))
        return DONE

    def action(self, *message: Any) -> _Done:
        """Record an ``action`` for each argument."""
        for value in message:
            self._put(Kind.ACTION, serialize(value))
        return DONE

    def agent(self, *message: Any) -> _Done:
        """Record an ``agent`` event for each argument: who, or what task, takes part in the run."""
        for value in message:
            self._put(Kind.AGENT, serialize(value))
        return DONE

    def markdown(self, *message: str) -> _Done:
        """Record markdown as a ``result``; several arguments are joined with a blank line."""
        return self._put(Kind.RESULT, serialize(Markdown(_joined("\n\n", message))))

    def html(self, *message: str) -> _Done:
        """Record HTML as a ``result``; several arguments are joined with newlines."""
        return self._put(Kind.RESULT, serialize(HTML(_joined("\n", message))))

    def text(self, *message: str) -> _Done:
        """Record plain text as a ``result``; several arguments are joined with newlines."""
        return self._put(Kind.RESULT, serialize(Text(_joined("\n", message))))

    def warning(self, *message: Any, exc_info: bool = False) -> _Done:
        """Record a warning as ``stderr`` text, with the current exception if ``exc_info``."""
        if exc_info:
            message = (*message, traceback.format_exc().rstrip())
        return self._put(Kind.STDERR, _joined("\n", message))

    def progress(self, done: float, total: float | None = None, text: str | None = None) -> _Done:
        """Record how far the run is.

        Arguments:
            done: units done.
            total: units there are; None if that is not known.
            text: what is being done, in a few words.
        """
        return self._put(Kind.PROGRESS, serialize({"done": done, "total": total, "text": text}))

    def span(
        self,
        name: str | None = None,
        type: str = SpanType.CUSTOM,
        input: Any = None,
        *,
        model: str | None = None,
        provider: str | None = None,
    ) -> Span:
        """A part of what the agent does, shown in the run's trace while it goes on.

        Example:
            ```python
            with tracer.span("search", type="tool", input={"query": query}) as span:
                span.set(output=search(query))


            @tracer.span(type="tool")
            def search(query: str) -> list[str]: ...
            ```

        Arguments:
            name: what people call it; of a decorated function its name.
            type: ``agent``, ``llm``, ``tool``, ``retrieval``, ``embedding``, ``chain``, ``task``
                or ``custom``.
            input: what goes in; of a decorated function its arguments.
            model, provider: of a model's call.

        Returns:
            A context manager, also for ``async with``, and a decorator.
        """
        return Span(self._place_of_spans, name, type, input, model, provider)

    def llm(
        self,
        model: str,
        input: Any = None,
        *,
        provider: str | None = None,
        name: str | None = None,
    ) -> Span:
        """A call of a model, by a client that is not known here.

        Example:
            ```python
            with tracer.llm("gpt-5-mini", input=messages, provider="openai") as call:
                answer = client.ask(messages)
                call.set(output=answer.text, usage={"input": 812, "output": 64})
            ```

        Arguments:
            input: the messages.
            name: what people call it; the model's if not given.
        """
        return Span(self._place_of_spans, name or model, SpanType.LLM, input, model, provider)

    def _place_of_spans(self) -> Place:
        return self._place_in(self._own.fid)

    def _place_in(self, fid: str) -> Place:
        settings, place = get_settings(), self._place
        if place is not None and place.settings is settings and place.fid == fid:
            return place
        place = self._place = Place(
            fid,
            lambda payload: self._put(Kind.SPAN, payload),
            settings,
            self._span,
            lambda: budgets.check_here(fid),
            lambda: budgets.check_async(fid),
            lambda: budgets.called(fid),
        )
        return place

    debug_sync = debug
    result_sync = result
    action_sync = action
    markdown_sync = markdown
    html_sync = html
    text_sync = text
    warning_sync = warning
    progress_sync = progress

    async def flush(self, timeout: float | None = None) -> bool:
        """Wait until everything recorded in this process is stored.

        Arguments:
            timeout: seconds; None means the setting ``flush_timeout``.

        Returns:
            False if it could not be stored in time; it is kept and stored later.
        """
        import asyncio

        return await asyncio.to_thread(self.flush_sync, timeout)

    def flush_sync(self, timeout: float | None = None) -> bool:
        """As ``flush``, for sync code."""
        return self._sink().flush(timeout)

    async def lock(
        self,
        name: str,
        data: Any = None,
        timeout: float | None = None,
        form: Any = None,
        *,
        title: str | None = None,
        question: str | None = None,
        suspend: float | bool | None = None,
        **asking: Unpack[AskOptions],
    ) -> Any:
        """Ask a human, and wait for the answer; the execution is ``awaiting`` meanwhile.

        Example:
            ```python
            class Approval(BaseModel):
                approved: bool = False
                comment: str = ""

            approval = await tracer.lock("approve", data={"draft": draft}, form=Approval)
            approval = await tracer.lock(
                "approve", form=Approval, ask=["owner", "team:legal"], remind="4h",
                escalate=("8h", "team:lead"), on_expiry=Approval(approved=False),
            )
            ```

        Arguments:
            name: of the service's ``@app.lock`` and ``@app.lease`` functions; with ``form``, what
                people call the question.
            data: given to these functions, and shown to whoever answers; JSON types.
            timeout: seconds; None means 3 hours, or 3 hours after the last reminder or escalation.
            form: a ``forms.Model``, whose values are the answer, or a class of pydantic models,
                an instance of which is. A form needs no service.
            title: the heading that people see, in place of the name.
            question: what is asked, in markdown.
            suspend: seconds after which a run of a deployment ends its process, True for at once;
                the answer has it go on in another one, from the beginning of the flow. False
                keeps the process; None means the setting ``lock_suspend_after``.
            asking: who may answer, when they are reminded, who is asked after that, how many
                have to answer, what the run gets if nobody does: see ``AskOptions``.

        Raises:
            TimeoutError: nobody answered in time, and ``on_expiry`` is not given; the stream has a
                ``lease`` event about it.
            ValueError: an argument is not as it should be.
            VoidLockError: the run is over or began again, so that nobody can answer.
        """
        wording = Wording(name, data, form, title, question, Asking.of(name, **asking))
        return await self._question(wording, timeout, suspend).ask()

    def lock_sync(
        self,
        name: str,
        data: Any = None,
        timeout: float | None = None,
        form: Any = None,
        *,
        title: str | None = None,
        question: str | None = None,
        suspend: float | bool | None = None,
        **asking: Unpack[AskOptions],
    ) -> Any:
        """As ``lock``, for sync code."""
        wording = Wording(name, data, form, title, question, Asking.of(name, **asking))
        return self._question(wording, timeout, suspend).ask_sync()

    def _question(
        self, wording: Wording, timeout: float | None, suspend: float | bool | None
    ) -> Question:
        # Imported at its first use: most runs ask nobody.
        from kodosumi_prefect.suspension.place import place_of

        settings, fid = self._sink().settings, self.fid
        place = place_of(wording.name, suspend, fid, self._sink())
        return Question(wording, timeout, fid, settings, self._put, place)

    async def fs(self) -> "AsyncFileSystem":
        """The files of the run: ``in/``, what it was given, and ``out/``, what it leaves.

        Example:
            ```python
            async with await tracer.fs() as fs:
                async for path in fs.download("in"):
                    ...
                await fs.upload("report.pdf")
            ```

        Raises:
            KodosumiError: neither their storage nor the panel is reached from here.
        """
        from kodosumi_prefect.run_files import AsyncFileSystem

        return AsyncFileSystem(await asyncio.to_thread(self.fs_sync))

    def fs_sync(self) -> "FileSystem":
        """As ``fs``, for sync code."""
        from kodosumi_prefect.artifacts import of_file
        from kodosumi_prefect.run_files import FileSystem
        from kodosumi_prefect.run_files.reaching import place_of

        settings = get_settings()
        fid = self.fid
        return FileSystem(
            place_of(fid, settings),
            lambda payload: self._put(Kind.UPLOAD, payload),
            self._sink().flush,
            settings,
            lambda path: of_file(fid, path, settings),
        )

    async def file(self, name: str, content: "Content", media_type: str | None = None) -> str:
        """Leave one file in ``out/``.

        Example:
            ```python
            await tracer.file("report.pdf", pdf_bytes)
            ```

        Arguments:
            name: its path in ``out/``.
            content: its bytes, its text, a local path, or a stream of bytes.
            media_type: such as ``text/plain``; by its name if not given.

        Returns:
            Its path, with ``out/`` before it.

        Raises:
            FileNameError: a name that not every machine can hold.
            FileLimitError: it is too large, or one too many.
            KodosumiError: as ``fs``.
        """
        return await asyncio.to_thread(self.file_sync, name, content, media_type)

    def file_sync(self, name: str, content: "Content", media_type: str | None = None) -> str:
        """As ``file``, for sync code."""
        with self.fs_sync() as files:
            return files.put(name, content, media_type)

    def _scope(self) -> Scope:
        # The caller's place is more precise than the tracer's own, if it is the same run.
        here = known_scope()
        if here is None and self._arrived:
            for used in uses:
                used(self._own)
        return here if here is not None and here.fid == self._own.fid else self._own

    def _sink(self) -> SpoolClient:
        if self._client is None:
            self._client = get_client()
        return self._client

    def _put(self, kind: Kind, payload: str, dedupe: str | None = None) -> _Done:
        place = known_place()
        if place is None or place[2].fid != self._own.fid:
            scope = self._scope()
            source = event_source(scope)
        else:
            scope, source = place[2], place[3]
        client = self._client or self._sink()
        if client.settings.redaction is not None:
            if (kept := kept_payload(kind, payload, client.settings)) is None:
                return DONE
            payload = kept
        # The fields of an Event; this is called more often than anything else.
        word = str.__str__(kind)  # a plain str, unlike the member of the enum
        fields = (time.time(), word, payload, scope.attempt, source, dedupe, None, None)
        client.emit_fields(scope.fid, fields)
        return DONE


class TracerMock(Tracer):
    """Prints what it gets: for running an entrypoint by hand, without Prefect or Postgres.

    ``lock`` asks at the terminal. There are no files: ``fs`` says so.

    Example:
        ```python
        asyncio.run(greet.fn({"name": "Ada"}, TracerMock()))
        ```
    """

    def __init__(self) -> None:
        super().__init__(Scope("00000000-0000-0000-0000-000000000000"))

    def __reduce__(self) -> tuple[Any, ...]:
        return TracerMock, ()

    def _put(self, kind: Kind, payload: str, dedupe: str | None = None) -> _Done:
        print(f"{kind}: {_as_given(kind, payload)}", flush=True)  # noqa: T201
        return DONE

    def _place_of_spans(self) -> Place:
        return Place(
            self.fid, lambda payload: self._put(Kind.SPAN, payload), get_settings(), self._span
        )

    def flush_sync(self, timeout: float | None = None) -> bool:
        return True

    def fs_sync(self) -> "FileSystem":
        raise KodosumiError(
            "files are not supported by TracerMock: they belong to a run; run the entrypoint as one"
        )

    async def lock(
        self,
        name: str,
        data: Any = None,
        timeout: float | None = None,
        form: Any = None,
        *,
        title: str | None = None,
        question: str | None = None,
        suspend: float | bool | None = None,
        **asking: Unpack[AskOptions],
    ) -> Any:
        """Ask whoever sits at the terminal."""
        wording = Wording(name, data, form, title, question, Asking.of(name, **asking))
        return ask_here(wording)

    def lock_sync(
        self,
        name: str,
        data: Any = None,
        timeout: float | None = None,
        form: Any = None,
        *,
        title: str | None = None,
        question: str | None = None,
        suspend: float | bool | None = None,
        **asking: Unpack[AskOptions],
    ) -> Any:
        """As ``lock``, for sync code."""
        wording = Wording(name, data, form, title, question, Asking.of(name, **asking))
        return ask_here(wording)


class CurrentTracer(Tracer):
    """The tracer of whatever run the calling code belongs to: ``kodosumi_prefect.tracer``.

    Raises:
        NoRunError: at each use outside of runs.
    """

    def __init__(self) -> None:
        self._client = None
        self._arrived = False

    def __reduce__(self) -> tuple[Any, ...]:
        # Pickled inside a run, as a captured variable, it arrives as that run's tracer.
        return (_current, ()) if current_scope() is None else super().__reduce__()

    def __repr__(self) -> str:
        scope = current_scope()
        return f"Tracer(fid={scope.fid!r})" if scope else "Tracer(outside of runs)"

    def _scope(self) -> Scope:
        scope = current_scope()
        if scope is None:
            raise NoRunError(
                "kodosumi_prefect.tracer was used outside of a flow run; call the flow, or hand a "
                "tracer to code that runs elsewhere"
            )
        return scope

    def _place_of_spans(self) -> Place:
        return self._place_in(self.fid)

    def _sink(self) -> SpoolClient:
        # Settings may differ from run to run in one process, so nothing is remembered.
        return get_client()

    def _put(self, kind: Kind, payload: str, dedupe: str | None = None) -> _Done:
        place = known_place()
        scope, source = place[2:] if place is not None else (self._scope(), None)
        client = self._sink()
        kept = kept_payload(kind, payload, client.settings)
        if kept is not None:
            source = source or event_source(scope)
            event = Event(time.time(), kind, kept, scope.attempt, source, dedupe)
            client.emit(scope.fid, event)
        return DONE


tracer = CurrentTracer()


def _current() -> Tracer:
    return tracer


def _arrive(scope: Scope, instance: str | None = None) -> Tracer:
    learn_instance(instance)
    attach_adapters()
    for arrived in arrivals:
        arrived(scope)
    tracer = Tracer(scope)
    tracer._arrived = True
    return tracer


def _as_given(kind: Kind, payload: str) -> str:
    """Text without the envelope that it is stored in; what else there is as it is stored."""
    if kind not in (Kind.RESULT, Kind.ACTION):
        return payload
    [(name, value)] = json.loads(payload).items()
    if name in ("Markdown", "HTML", "Text") and value.keys() == {"body"}:
        value = value["body"]
    return value if isinstance(value, str) else payload


def _joined(separator: str, message: tuple[Any, ...]) -> str:
    if len(message) == 1:
        return plain(message[0])
    return separator.join([plain(part) for part in message])
