"""The Flow Register, kept up to date."""

import asyncio
import contextlib
import json
import logging
from collections.abc import Sequence
from typing import NamedTuple

import psycopg

from kodosumi_prefect.cancelling import cancel_all
from kodosumi_prefect.database.rows.services import (
    EndpointTag,
    GoneEndpoint,
    KnownSource,
    RegisteredEndpoint,
    Source,
)
from kodosumi_prefect.launch import schedules
from kodosumi_prefect.launch.refusal import LaunchError
from kodosumi_prefect.panel.services.calls import Services
from kodosumi_prefect.panel.services.register import deployments, sources
from kodosumi_prefect.panel.services.register.address import canonical, uid
from kodosumi_prefect.panel.services.register.fetching import client
from kodosumi_prefect.panel.services.register.reading import ListedEndpoint, Reading, SourceError
from kodosumi_prefect.refusals import ConflictError
from kodosumi_prefect.settings import Settings
from kodosumi_prefect.stream.reader import ALL, Reader

AT_ONCE = 8  # sources read at the same time
# Of the interval, after which a source is due, so that a panel's own rhythm does not miss it.
DUE = 0.9
LAPSED = 3  # intervals without a panel that mounts a service
NOT_MOUNTED = "no panel runs this service now; start one with it, or unregister it"
NOTHING_LISTED = "{url} lists no endpoint of ours: none of its operations has x-kodosumi: true"
UNREGISTERED = "its endpoint was unregistered"

logger = logging.getLogger(__name__)


class Refreshed(NamedTuple):
    """The result of reading sources.

    Attributes:
        endpoints: that they name.
        deletes: panel paths of endpoints that they no longer name.
        troubles: by the source's URL.
        incomplete: of sources that were read, what is wrong with a part of them, or that they
            list nothing; by URL.
    """

    endpoints: list[ListedEndpoint]
    deletes: list[str]
    troubles: dict[str, SourceError]
    incomplete: dict[str, str]


class Added(NamedTuple):
    """The result of registering sources.

    Attributes:
        endpoints: that they name.
        failed: why something is wrong with a source, by its URL as it was given.
        kept: URLs of those among the failed that are registered all the same, and read again.
    """

    endpoints: list[RegisteredEndpoint]
    failed: dict[str, str]
    kept: list[str]


class OwnSourceError(ConflictError):
    """A source that is there by this panel's settings cannot be removed."""


class Register:
    """Reads sources, each by one of possibly several panels at a time; an async context manager.

    Endpoints of a source that cannot be read stay and are marked. One that a source no longer
    names is gone: its schedules are paused, and go on when it is back.

    Arguments:
        reader: of the database.
        settings: how often, and which Prefect deployments are taken.
        services: of this process; they are registered by themselves.
    """

    def __init__(self, reader: Reader, settings: Settings, services: Services) -> None:
        self._reader = reader
        self._settings = settings
        self._services = services
        self._mounted = services.mounted
        self._turns = asyncio.Semaphore(AT_ONCE)
        self._minding = asyncio.Lock()
        self._http = client()
        self._troubles: dict[str, str] = {}
        self._work: asyncio.Task[None] | None = None
        self._wake = asyncio.Event()

    async def __aenter__(self) -> "Register":
        await self._enter_own()
        await self._read_all(await self._touch(list(self._mounted)))
        self._work = asyncio.create_task(self._keep_up(), name="register")
        self._services.on_started = self._wake.set
        return self

    async def __aexit__(self, *exc: object) -> None:
        if self._work is not None:
            await cancel_all([self._work])
        await self._http.aclose()

    async def add(self, urls: Sequence[str]) -> Added:
        """Register sources by URL and read them now.

        One that does not answer, or that names no endpoint yet, is kept and read again regularly.
        One that has to be corrected is not kept, unless it was known; the others are registered.
        """
        failed: dict[str, str] = {}
        given: dict[str, str] = {}  # as it was given, by how it is registered
        for url in urls:
            try:
                given.setdefault(sources.checked(url), url)
            except SourceError as exc:
                failed[url] = str(exc)
        added = [
            url
            for url in given
            if await self._reader.execute("add_source", url=url, kind=sources.kind_of(url))
        ]
        refreshed = await self._read_all(await self._touch(list(given)))
        bad = {url for url, exc in refreshed.troubles.items() if not exc.away}
        if forget := [url for url in added if url in bad]:
            await self._reader.execute("forget_sources", urls=forget)
            for url in forget:
                self._troubles.pop(url, None)
        uids = [uid(endpoint.url) for endpoint in refreshed.endpoints]
        rows = await self.endpoints(uids=uids, limit=ALL) if uids else []
        wrong = {url: str(exc) for url, exc in refreshed.troubles.items()} | refreshed.incomplete
        failed |= {given[url]: why for url, why in wrong.items()}
        return Added(rows, failed, [given[url] for url in wrong if url not in forget])

    async def remove(self, urls: Sequence[str]) -> list[str]:
        """Remove sources with their endpoints, and pause the schedules of these.

        Returns:
            The URLs of those that were known.

        Raises:
            OwnSourceError: one of them is this panel's own, by its settings.
            LaunchError: schedules have to be paused, and Prefect is away.
        """
        for url in urls:
            if self.is_own(url):
                setting = "services" if url in self._mounted else "register_work_pools"
                raise OwnSourceError(f"{url} is set by the setting {setting}; change that")
        written = [canonical_url(url) for url in urls]
        uids = await self._reader.values("source_endpoints", urls=written)
        async with self._minding:
            if uids:
                await schedules.pause_endpoints(uids, UNREGISTERED, self._settings)
            removed = await self._reader.values("forget_sources", urls=written)
            if uids:  # another panel may have resumed them in between: they still existed
                await schedules.pause_endpoints(uids, UNREGISTERED, self._settings)
        self._wake.set()  # another source may name the same endpoints
        return sorted(removed)

    def is_own(self, url: str) -> bool:
        """Whether a source is there by this panel's settings, and cannot be removed."""
        return url in self._mounted or (url == sources.PREFECT and self._takes_deployments)

    async def refresh(self, urls: Sequence[str] | None = None) -> Refreshed:
        """Read sources now; services of this panel that failed are started again before.

        Arguments:
            urls: of those that are known; None for all.
        """
        await self._services.start_again(urls)
        await self._enter_own()
        return await self._read_all(await self._touch(None if urls is None else list(urls)))

    async def sources(self) -> list[KnownSource]:
        """All sources, with their trouble if there is any."""
        return await self._reader.rows_of(KnownSource, "sources")

    async def endpoints(
        self,
        *,
        query: str = "",
        tags: Sequence[str] = (),
        uids: Sequence[str] | None = None,
        without: Sequence[str] = (),
        after: str | None = None,
        limit: int = 10,
    ) -> list[RegisteredEndpoint]:
        """Endpoints by their summaries; of mounted services only those that this panel runs.

        Others it could not call. They stay in the database, for the panels that do, and for when
        this one does again: their ids, schedules and links are the same then.

        Arguments:
            query: words that must all occur in summary, description, author, organization, tags
                or url, upper and lower case alike.
            tags: which an endpoint must all have.
            uids: take these only.
            without: leave these out.
            after: ``uid`` of the last one of the page before.
        """
        return await self._reader.rows_of(
            RegisteredEndpoint,
            "endpoints",
            mounted=list(self._mounted),
            words=query.split() or None,
            tags=list(tags) or None,
            uids=list(uids) if uids is not None else None,
            without=list(without),
            after=after,
            limit=limit,
        )

    async def tags(self) -> dict[str, int]:
        """How many endpoints have which tag."""
        rows = await self._reader.rows_of(EndpointTag, "endpoint_tags", mounted=list(self._mounted))
        return {row.tag: row.endpoints for row in rows}

    async def endpoint(self, path: str) -> RegisteredEndpoint | None:
        """The endpoint at a path of the panel, with or without a slash at its end.

        Arguments:
            path: decoded.
        """
        url = canonical(path)
        other = url[:-1] if url.endswith("/") else f"{url}/"
        rows = await self._reader.rows_of(
            RegisteredEndpoint, "endpoint", uids=[uid(url), uid(other)]
        )
        return rows[0] if rows else None

    async def of_uid(self, uid_: str) -> RegisteredEndpoint | None:
        """The endpoint of this id; None if ``endpoints`` does not list it."""
        rows = await self.endpoints(uids=[uid_])
        return rows[0] if rows else None

    async def listed(self, uids: Sequence[str]) -> set[str]:
        """Which of these ids ``endpoints`` lists."""
        return {row.uid for row in await self.endpoints(uids=uids, limit=ALL)} if uids else set()

    def runs_elsewhere(self, endpoint: RegisteredEndpoint) -> bool:
        """Whether its service is one that only another panel runs itself, if any does."""
        return endpoint.kind == "mounted" and endpoint.source not in self._mounted

    async def has_base(self, base: str) -> bool:
        """Whether a registered service has this base URL."""
        [known] = await self._reader.values("is_base", base=base)
        return bool(known)

    @property
    def _takes_deployments(self) -> bool:
        return deployments.takes_deployments(self._settings)

    async def _enter_own(self) -> None:
        for name in self._mounted:
            await self._reader.execute("add_source", url=name, kind="mounted")
        if self._takes_deployments:
            await self._reader.execute("add_source", url=sources.PREFECT, kind="prefect")
        else:
            await self._reader.execute("forget_sources", urls=[sources.PREFECT])

    async def _touch(self, urls: list[str] | None) -> list[Source]:
        return await self._reader.rows_of(
            Source, "touch_sources", urls=urls, mounted=list(self._mounted)
        )

    async def _keep_up(self) -> None:
        interval = self._settings.register_interval
        due = 0.0  # at first, whatever another panel may have read
        while True:
            try:
                claimed = await self._reader.rows_of(
                    Source, "claim_sources", interval=due, mounted=list(self._mounted)
                )
                await self._read_all(claimed)
                await self._reader.execute(
                    "lapse_mounted", silence=LAPSED * interval, trouble=NOT_MOUNTED
                )
                await self._mind_schedules()
            except psycopg.OperationalError as exc:
                logger.warning(
                    "the register cannot be refreshed now, trying again: %s",
                    " ".join(str(exc).split()),
                )
            except Exception:
                logger.exception("unexpected error in refreshing the register, trying again")
            due = interval * DUE
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(interval):
                    await self._wake.wait()
                due = 0.0
            self._wake.clear()

    async def _read_all(self, known: Sequence[Source]) -> Refreshed:
        done = await asyncio.gather(*(self._read(source) for source in known))
        return Refreshed(
            [endpoint for one in done for endpoint in one.endpoints],
            [url for one in done for url in one.deletes],
            {url: exc for one in done for url, exc in one.troubles.items()},
            {url: why for one in done for url, why in one.incomplete.items()},
        )

    async def _read(self, source: Source) -> Refreshed:
        url = source.url
        try:
            async with self._turns:
                reading = await sources.read(source, self._http, self._mounted, self._settings)
            deletes = await self._store(source.id, reading)
        except (SourceError, UnicodeError, psycopg.DataError) as exc:
            wrong = exc
            if not isinstance(wrong, SourceError):
                wrong = SourceError(f"{url} contains text that cannot be stored: {exc}")
            if source.kind != "mounted":  # whoever starts those says why they do not run
                self._tell(url, str(wrong))
            await self._reader.execute("fail_source", id=source.id, trouble=str(wrong))
            return Refreshed([], [], {url: wrong}, {})
        self._tell(url, reading.trouble)
        wanting = reading.trouble
        if wanting is None and not reading.endpoints:
            wanting = NOTHING_LISTED.format(url=url)
        incomplete = {} if wanting is None else {url: wanting}
        return Refreshed(reading.endpoints, deletes, {}, incomplete)

    async def _store(self, source_id: int, reading: Reading) -> list[str]:
        by_uid = {row["uid"]: row for row in (endpoint.row() for endpoint in reading.endpoints)}
        return await self._reader.values(
            "store_source",
            id=source_id,
            endpoints=json.dumps(list(by_uid.values())),
            failed=reading.failed,
            trouble=reading.trouble,
        )

    async def _mind_schedules(self) -> None:
        """Pause schedules of endpoints that are gone, and resume those that are back."""
        async with self._minding:
            await self._switch_schedules()

    async def _switch_schedules(self) -> None:
        gone = await self._reader.rows_of(GoneEndpoint, "schedules_of_gone")
        back = await self._reader.values("schedules_of_returned")
        try:
            for row in gone:
                why = f"{row.source} no longer lists its endpoint"
                await schedules.pause_endpoints([row.uid], why, self._settings)
            if back:
                await schedules.resume_endpoints(back, self._settings)
        except LaunchError as exc:
            logger.warning("cannot update schedules of endpoints that came or went: %s", exc.detail)

    def _tell(self, url: str, trouble: str | None) -> None:
        """Log what is new about a source's trouble."""
        if trouble is not None and self._troubles.get(url) != trouble:
            self._troubles[url] = trouble
            logger.warning("cannot read a source of services: %s", trouble)
        elif trouble is None and self._troubles.pop(url, None) is not None:
            logger.info("source %s recovered", url)


def canonical_url(url: str) -> str:
    """A source's URL as it was registered; a name stays as it is."""
    try:
        return sources.checked(url)
    except SourceError:
        return url.strip()
