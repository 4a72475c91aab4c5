"""Executions that just began: where they run is noted, and their flow run links to the panel."""

from uuid import UUID

from prefect.client.orchestration import PrefectClient
from prefect.client.schemas.actions import ArtifactCreate
from prefect.client.schemas.filters import (
    ArtifactFilter,
    ArtifactFilterFlowRunId,
    ArtifactFilterKey,
)
from prefect.client.schemas.objects import Artifact, FlowRun

from kodosumi_prefect.listings import PAGE, narrowed
from kodosumi_prefect.observer.api import Api
from kodosumi_prefect.settings import Settings, panel_url
from kodosumi_prefect.stream.reader import Reader
from kodosumi_prefect.stream.rows import NewExecution

YOUNG = 600.0  # seconds for which one that is over counts as just begun
KEY = "kodosumi-{}"  # of the artifact; Prefect allows lowercase letters, digits and dashes


class Arrivals:
    """Handles new executions, each once for as long as this process leads."""

    def __init__(self, settings: Settings, reader: Reader, api: Api) -> None:
        self._settings = settings
        self._reader = reader
        self._api = api
        self._after = 0

    async def look(self) -> None:
        """Handle those that began since the last time."""
        rows = await self._reader.rows_of(
            NewExecution, "begun", after=self._after, young=YOUNG, limit=PAGE
        )
        if not rows:
            return
        by_id = await self._api.flow_runs([row.fid for row in rows])
        runs = {str(fid): run for fid, run in by_id.rows.items()}
        placed = {fid: run.work_pool_name for fid, run in runs.items() if run.work_pool_name}
        if placed:
            await self._reader.execute(
                "place_executions", fids=list(placed), pools=list(placed.values())
            )
        if self._settings.link_artifacts:
            await self._link(runs)
        # What fails above is repeated the next time; both are harmless to do twice.
        self._after = rows[-1].id

    async def _link(self, runs: dict[str, FlowRun]) -> None:
        client = await self._api.client()
        for fid in runs.keys() - await self._linked(client, list(runs)):
            url = f"{panel_url(self._settings)}/executions/{fid}"
            artifact = ArtifactCreate(
                key=key_of(fid),
                type="markdown",
                description="Events, output and result of this run in the Kodosumi panel.",
                data=f"[Open this run in the Kodosumi panel]({url})",
                flow_run_id=UUID(fid),
            )
            await client.request(
                "POST", "/artifacts/", json=artifact.model_dump(mode="json", exclude_unset=True)
            )

    async def _linked(self, client: PrefectClient, fids: list[str]) -> set[str]:
        if not fids:
            return set()
        artifact_filter = ArtifactFilter(
            flow_run_id=ArtifactFilterFlowRunId(any_=[UUID(fid) for fid in fids]),
            key=ArtifactFilterKey(any_=[key_of(fid) for fid in fids]),
        )

        async def read(limit: int, offset: int) -> list[Artifact]:
            return await client.read_artifacts(
                artifact_filter=artifact_filter, limit=limit, offset=offset
            )

        page = await narrowed(read, "artifact")
        return {str(artifact.flow_run_id) for artifact in page.rows}


def key_of(fid: str) -> str:
    """The artifact's key: the part of the id that differs between runs of the same minute."""
    return KEY.format(fid.replace("-", "")[-12:])
