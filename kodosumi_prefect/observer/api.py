"""Prefect's REST API, by one client for all that a leading observer asks."""

import asyncio
from contextlib import AsyncExitStack
from typing import Self
from uuid import UUID

from prefect.client.orchestration import PrefectClient, get_client
from prefect.client.schemas.objects import FlowRun
from prefect.exceptions import ObjectNotFound

from kodosumi_prefect import listings


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
            httpx.HTTPError: Prefect is away, or asks to wait for longer than its client does.
        """
        async with self._connecting:
            if self._client is None:
                self._client = await self._stack.enter_async_context(get_client())
        return self._client

    async def flow_run(self, fid: str) -> FlowRun | None:
        """A flow run, or None if it was deleted, or Prefect cannot serialize it."""
        try:
            return await listings.flow_run(await self.client(), UUID(fid))
        except ObjectNotFound:
            return None

    async def flow_runs(self, fids: list[str]) -> listings.RowsById[FlowRun]:
        """Flow runs by id; those that Prefect does not know are left out."""
        return await listings.flow_runs_by_id(await self.client(), [UUID(fid) for fid in fids])
