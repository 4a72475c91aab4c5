"""The system's parts and their state; and where endpoints are found."""

import asyncio
from collections.abc import Awaitable
from dataclasses import asdict
from typing import Annotated, Any

from fastapi import APIRouter, Form, HTTPException, Request
from fastapi.responses import Response

from kodosumi_prefect.addresses import prefect_access
from kodosumi_prefect.database.rows.system import DatabaseFacts, RunnerCount, Service
from kodosumi_prefect.events import Status, clean
from kodosumi_prefect.launch.refusal import LaunchError
from kodosumi_prefect.panel.accounts.permissions import CurrentUser, Operator
from kodosumi_prefect.panel.audit.recording import journal
from kodosumi_prefect.panel.html.parts import part_or_page, sentence
from kodosumi_prefect.panel.services import actions
from kodosumi_prefect.panel.services.register.register import OwnSourceError
from kodosumi_prefect.panel.system import (
    observers,
    probes,
    serve_applications,
    spoolers,
    utilisation,
)
from kodosumi_prefect.panel.system.probes import Report
from kodosumi_prefect.panel.web.parameters import Panel
from kodosumi_prefect.panel.web.prefect_links import ui_url
from kodosumi_prefect.panel.web.state import State
from kodosumi_prefect.panel.web.templating import package_version, page

PART_ANSWER_SECONDS = 2.0  # seconds that one part may take; the others are shown all the same
SILENT = 60.0  # seconds without a report after which a worker counts as gone

router = APIRouter(include_in_schema=False)

Text = Annotated[str, Form()]


@router.get("/system")
async def whole(request: Request, panel: Panel, user: CurrentUser) -> Response:
    """The page."""
    context = await _all_blocks(panel, user.operator)
    if user.operator:
        context |= await _sources(panel) | _sign_in(panel)
    return page(request, "system.html", context)


@router.get("/system/blocks")
async def blocks(request: Request, panel: Panel, user: CurrentUser) -> Response:
    """How everything is now; polled regularly."""
    return page(request, "_system_blocks.html", await _all_blocks(panel, user.operator))


@router.post("/system/prefect-password")
async def prefect_password(request: Request, panel: Panel, _: Operator) -> Response:
    """What Prefect's own pages ask for."""
    context = _sign_in(panel, revealed=True)
    if not context:
        raise HTTPException(404, "the Prefect in use is not one that `up` runs")
    if "hx-request" not in request.headers:
        context |= await _all_blocks(panel, operator=True) | await _sources(panel)
    return part_or_page(request, "system.html", "_prefect_sign_in.html", context)


@router.get("/system/sources")
async def sources(request: Request, panel: Panel, _: Operator) -> Response:
    """The list of sources; polled regularly."""
    return page(request, "_system_sources_list.html", await _sources(panel))


@router.post("/system/sources")
async def add_source(request: Request, panel: Panel, _: Operator, url: Text = "") -> Response:
    """Register a source and read it."""
    added = await actions.register(panel, [clean(url)], journal(request))
    trouble = "; ".join(added.failed.values())
    if trouble and not added.kept:
        return await _answer(request, panel, wrong=sentence(trouble), typed=url)
    if trouble and not added.endpoints:
        return await _answer(
            request, panel, notice=f"Added, but it cannot be read now: {trouble}", away=True
        )
    return await _answer(request, panel, notice=f"Added, with {_endpoints(len(added.endpoints))}.")


@router.post("/system/sources/refresh")
async def refresh_sources(request: Request, panel: Panel, _: Operator, url: Text = "") -> Response:
    """Read one source now, or all of them."""
    done = await actions.refresh(panel, [clean(url)] if url else None, journal(request))
    if done.troubles:
        reasons = "; ".join(str(trouble) for trouble in done.troubles.values())
        return await _answer(request, panel, wrong=sentence(reasons))
    gone = f"; {_endpoints(len(done.deletes))} no longer there" if done.deletes else ""
    return await _answer(request, panel, notice=f"Read: {_endpoints(len(done.endpoints))}{gone}.")


@router.post("/system/sources/remove")
async def remove_source(request: Request, panel: Panel, _: Operator, url: Text = "") -> Response:
    """Remove a source with its endpoints; the schedules of these are paused."""
    try:
        removed = await actions.unregister(panel, [clean(url)], journal(request))
    except (OwnSourceError, LaunchError) as exc:
        return await _answer(request, panel, wrong=sentence(exc.detail))
    if not removed:
        return await _answer(request, panel, wrong="This source was removed already.")
    return await _answer(request, panel, notice="The source is removed.")


async def _answer(
    request: Request,
    panel: State,
    *,
    wrong: str = "",
    typed: str = "",
    notice: str = "",
    away: bool = False,
) -> Response:
    outcome = {"wrong": wrong, "typed": typed, "notice": notice, "away": away}
    context = await _sources(panel) | outcome
    if "hx-request" not in request.headers:
        context |= await _all_blocks(panel, operator=True) | _sign_in(panel)
    part = "_system_sources.html"
    return part_or_page(request, "system.html", part, context, wrong=bool(wrong))


async def _sources(panel: State) -> dict[str, Any]:
    known = await panel.register.sources()
    own = {source.url for source in known if panel.register.is_own(source.url)}
    return {"sources": known, "own": own}


def _sign_in(panel: State, *, revealed: bool = False) -> dict[str, Any]:
    """How to sign in to the pages of the Prefect that ``up`` runs; nothing of another one."""
    access = prefect_access(panel.settings)
    if access is None or access.auth_path is None:
        return {}
    password = access.auth_string if revealed else None
    facts = {"path": access.auth_path, "pages": ui_url(panel.settings), "password": password}
    return {"sign_in": facts}


def _endpoints(number: int) -> str:
    return f"{number} endpoint{'' if number == 1 else 's'}"


async def _all_blocks(panel: State, operator: bool) -> dict[str, Any]:
    checks: dict[str, Awaitable[Report]] = {
        "prefect": _prefect(panel),
        "ray": _ray(panel),
        "postgres": _postgres(panel),
        "spoolers": _spoolers(panel),
        "observer": observers.report(panel.reader),
        "workers": _workers(panel),
        "runners": _runners(panel),
        "executions": _executions(panel),
        "versions": _versions(),
        "services": _services(panel),
        "utilisation": utilisation.last_hour(panel.reader),
    }
    if operator:
        checks["serve"] = serve_applications.report(panel)
    reports = await asyncio.gather(
        *(probes.bounded(check, PART_ANSWER_SECONDS) for check in checks.values())
    )
    return dict(zip(checks, reports, strict=True))


async def _prefect(panel: State) -> Report:
    report = await probes.prefect(panel)
    return report | {"ui": ui_url(panel.settings)}


async def _ray(panel: State) -> Report:
    """The cluster's port as this panel sees it, and its nodes as workers report them."""
    reached, rows = await asyncio.gather(
        probes.bounded(probes.ray(panel), PART_ANSWER_SECONDS / 2), _reports(panel, "worker")
    )
    clusters = [row.info["cluster"] for row in rows if row.info.get("cluster")]
    nodes = clusters[0] if clusters else []
    if reached["status"] == "not configured" and (nodes or any(row.info["ray"] for row in rows)):
        reached = {"status": "ok", "detail": "as workers report it"}
    return {**reached, "nodes": nodes}


async def _postgres(panel: State) -> Report:
    [facts] = await panel.reader.rows_of(DatabaseFacts, "database_facts")
    return asdict(facts) | {
        "status": "ok",
        "feed": panel.feed.state,
        "schema": panel.reader.queries.schema,
    }


async def _spoolers(panel: State) -> Report:
    rows = await spoolers.spoolers(panel.reader)
    services = [
        {"service": row, "gone": row.silent > spoolers.SILENT, "rate": panel.rates.of(row)}
        for row in rows
    ]
    return {"status": spoolers.health(rows)["status"], "rows": services}


async def _workers(panel: State) -> Report:
    rows = await _reports(panel, "worker", silent=float("inf"))
    return {
        "status": "ok" if any(row.silent <= SILENT for row in rows) else "none",
        "rows": [{"service": row, "gone": row.silent > SILENT} for row in rows],
    }


async def _reports(panel: State, kind: str, silent: float = SILENT) -> list[Service]:
    rows = await panel.reader.rows_of(Service, "services")
    return [row for row in rows if row.kind == kind and row.silent <= silent]


async def _runners(panel: State) -> Report:
    rows = await panel.reader.rows_of(RunnerCount, "count_runners")
    counted = {row.state: row.runners for row in rows}
    counts = {state: counted.get(state, 0) for state in observers.RUNNER_STATES}
    return {"status": "ok", "counts": counts}


async def _executions(panel: State) -> Report:
    counted = await panel.metrics.counts()
    if counted is None:
        return {"status": "down", "detail": "they are not counted yet"}
    known = {row.status: row.executions for row in counted}
    return {
        "status": "ok",
        "counts": {status.value: known.get(status.value, 0) for status in Status},
        "events": sum(row.events for row in counted),
    }


async def _services(panel: State) -> Report:
    failed = panel.services.failed
    rows = {name: failed.get(name) for name in panel.services.mounted}
    return probes.mounted(panel) | {"rows": rows}


async def _versions() -> Report:
    ours = {"kodosumi-prefect": package_version()}
    return {"status": "ok", "rows": ours | await asyncio.to_thread(probes.versions)}
