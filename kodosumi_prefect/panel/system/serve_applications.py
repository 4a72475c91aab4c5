"""Ray Serve's applications and how they are, as operators see them on the page System."""

from typing import Any

from kodosumi_prefect.error_line import line_of
from kodosumi_prefect.events import clean
from kodosumi_prefect.panel.services.ray_serve import applications
from kodosumi_prefect.panel.system.probes import Report
from kodosumi_prefect.panel.web.state import State
from kodosumi_prefect.refusals import UpstreamError

WELL = "RUNNING"
BROKEN = ("DEPLOY_FAILED", "UNHEALTHY", "UNREACHABLE")
LONGEST = 300  # characters of a reason


async def report(panel: State) -> Report:
    """The applications that ``GET /deploy`` lists, with the reason of those that do not run."""
    sources = await panel.register.sources()
    try:
        known = await applications([one.url for one in sources if one.kind == "routes"])
    except UpstreamError as exc:
        return {"status": "down", "detail": exc.detail}
    rows = [_row(one) for one in known.values()]
    status = "down" if any(row["broken"] for row in rows) else "ok"
    return {"status": status, "rows": rows}


def _row(application: dict[str, Any]) -> dict[str, Any]:
    status = clean(application["status"])
    parts = application["deployments"]
    unwell = [
        f"{name} is {state.replace('_', ' ').lower()}"
        for name, state in parts.items()
        if state not in ("HEALTHY", WELL)
    ]
    reason = line_of(clean(application["message"])) or "; ".join(unwell)
    return {
        "name": clean(application["name"]),
        "prefix": clean(application["route_prefix"] or ""),
        "status": status.replace("_", " ").lower(),
        "broken": status in BROKEN,
        "reason": "" if status == WELL else reason[:LONGEST],
    }
