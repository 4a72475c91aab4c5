"""What open questions follow of who joins and leaves a team, in the transaction of the change."""

from collections.abc import AsyncIterator, Collection
from contextlib import asynccontextmanager
from typing import Any, NamedTuple

import psycopg

from kodosumi_prefect.database.sql import Queries


class Members(NamedTuple):
    """Some accounts of a team.

    Attributes:
        team: its name.
        accounts: their ids.
    """

    team: str
    accounts: Collection[str]

    def parameters(self) -> dict[str, Any]:
        return {"team": self.team, "accounts": list(self.accounts)}


@asynccontextmanager
async def moving(
    connection: psycopg.AsyncConnection[Any],
    queries: Queries,
    *,
    joined: Members | None = None,
    left: Members | None = None,
) -> AsyncIterator[None]:
    """Members change within the block; what they are asked changes with it.

    Who joined is told of open questions by their webhooks, as if they were asked now. Who left, and
    is not asked by another name, has no links to them any more, and what their webhooks did not get
    yet they do not get. Both stand in what was done about the questions.
    """
    joined = joined if joined and joined.accounts else None
    left = left if left and left.accounts else None
    if joined:
        await connection.execute(queries["keep_words_for_members"], joined.parameters())
    yield
    if left:
        await connection.execute(queries["leave_locks"], left.parameters())
    if joined:
        await connection.execute(queries["join_locks"], joined.parameters())
