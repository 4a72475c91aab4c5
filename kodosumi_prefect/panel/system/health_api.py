"""Probes: whether the process lives, whether it can serve, and how everything around it is."""

import asyncio

from fastapi import APIRouter, HTTPException
from fastapi.responses import JSONResponse, Response

from kodosumi_prefect.panel.system import observers, probes, spoolers
from kodosumi_prefect.panel.system.probes import Report
from kodosumi_prefect.panel.web.answers import Health
from kodosumi_prefect.panel.web.error_schemas import answers
from kodosumi_prefect.panel.web.parameters import Panel
from kodosumi_prefect.panel.web.state import State
from kodosumi_prefect.panel.web.templating import package_version
from kodosumi_prefect.spooler import refused, spill

router = APIRouter(tags=["Health"])


@router.get("/livez", summary="The process")
async def livez() -> dict[str, str]:
    """Answers as long as the process does."""
    return {"status": "alive"}


@router.get("/readyz", summary="The process and its Postgres")
async def readyz(panel: Panel) -> dict[str, str]:
    """503 while Postgres does not answer. ``feed`` tells how new events are noticed.

    A service that does not run stops nobody else's: ``services`` says how many do, ``GET /flow``
    which do not. ``files`` says why the storage of files is not used, if it is not.
    """
    report = await probes.bounded(probes.postgres(panel))
    if report["status"] != "ok":
        raise HTTPException(503, f"Postgres: {report['detail']}")
    return {
        "status": "ready",
        "feed": panel.feed.state,
        "services": probes.mounted(panel)["detail"],
        "files": panel.files.trouble or "ok",
    }


@router.get(
    "/health",
    summary="Everything around the panel",
    responses=answers(Health) | answers(Health, 503),
)
async def health(panel: Panel) -> Response:
    """503 while Postgres, or the Prefect API that is configured, does not answer."""
    postgres, prefect, ray, actors, observer = await asyncio.gather(
        probes.bounded(probes.postgres(panel)),
        probes.bounded(probes.prefect(panel)),
        probes.bounded(probes.ray(panel)),
        probes.bounded(_spoolers(panel)),
        probes.bounded(observers.report(panel.reader)),
    )
    needed = {"postgres": postgres, "prefect": prefect}
    down = [name for name, part in needed.items() if part["status"] == "down"]
    body = {
        "status": "fail" if down else "ok",
        "down": down,
        "versions": {"kodosumi_prefect": package_version()}
        | await asyncio.to_thread(probes.versions),
        "postgres": postgres,
        "spooler": _spooler(panel) | {"actors": actors},
        "prefect": prefect,
        "ray": ray,
        "observer": observer,
        "services": probes.mounted(panel),
    }
    return JSONResponse(body, 503 if down else 200)


def _spooler(panel: State) -> Report:
    feed = panel.feed
    age = feed.round_trip_age
    return {
        "status": feed.state,
        "round_trip_age": None if age is None else round(age, 1),
        "losses": feed.losses,
        "subscribers": feed.subscribers,
        "streams": len(panel.streams),
        "refused": [path.name for path in refused.files(spill.folder(panel.settings))],
    }


async def _spoolers(panel: State) -> Report:
    """Those of Ray clusters; a silent one stops nothing, its clients keep what they have."""
    return spoolers.health(await spoolers.spoolers(panel.reader))
