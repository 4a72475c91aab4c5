"""Names of deployments, which processes that run flows do not know."""

from uuid import UUID

from kodosumi_prefect.listings import deployments_by_id
from kodosumi_prefect.observer.api import Api
from kodosumi_prefect.stream.reader import Reader

MOST = 50  # deployments named at once
PORTION = 500  # executions named in one transaction
GONE = ""  # the name of a deployment that Prefect no longer knows


class Naming:
    """Writes beside the deployment's id what it is called, also of runs of before."""

    def __init__(self, reader: Reader, api: Api) -> None:
        self._reader = reader
        self._api = api

    async def look(self) -> None:
        """Name the deployments of all executions that lack it."""
        ids = await self._reader.values("unnamed_deployments", limit=MOST)
        if not ids:
            return
        client = await self._api.client()
        known = await deployments_by_id(client, [UUID(id_) for id_ in ids])
        for id_ in ids:
            deployment = known.rows.get(UUID(id_))
            if deployment is None and UUID(id_) in known.unreadable:
                continue  # it exists, but Prefect cannot serialize it
            name = GONE if deployment is None else deployment.name
            portion = PORTION
            while portion == PORTION:
                portion = await self._reader.execute(
                    "name_deployment", id=id_, name=name, limit=PORTION
                )
