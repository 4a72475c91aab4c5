"""Prefect's REST API, by one client for all that a leading observer asks."""

import asyncio
from contextlib import AsyncExitStack
from typing import Self
from uuid import UUID

from prefect.client.orchestration import PrefectClient, get_client
from prefect.client.schemas.filters import FlowRunFilter, FlowRunFilterId
from prefect.client.schemas.objects import FlowRun
from prefect.exceptions import ObjectNotFound

PAGE = 200  # objects Prefect returns at most


class Api:
    """Connects at the first use, so that it can be made while Prefect is away."""

    def __init__(self) -> None:
        self._stack = AsyncExitStack()
        self._client: PrefectClient | None = None
        self._connecting = asyncio.Lock()

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *exc: object) -> None:
        await self._stack.aclose()

    async def client(self) -> PrefectClient:
        """The client, connected.

        Raises:
            httpx.HTTPError: Prefect is away, or asks for patience longer than its client has.
        """
        async with self._connecting:
            if self._client is None:
                self._client = await self._stack.enter_async_context(get_client())
        return self._client

    async def flow_run(self, fid: str) -> FlowRun | None:
        """A flow run, or None if it is not there any more."""
        try:
            return await (await self.client()).read_flow_run(UUID(fid))
        except ObjectNotFound:
            return None

    async def flow_runs(self, fids: list[str]) -> dict[str, FlowRun]:
        """Flow runs by id; those that Prefect does not know are left out."""
        client = await self.client()
        found: dict[str, FlowRun] = {}
        for start in range(0, len(fids), PAGE):
            ids = [UUID(fid) for fid in fids[start : start + PAGE]]
            for run in await client.read_flow_runs(
                flow_run_filter=FlowRunFilter(id=FlowRunFilterId(any_=ids)), limit=PAGE
            ):
                found[str(run.id)] = run
        return found
