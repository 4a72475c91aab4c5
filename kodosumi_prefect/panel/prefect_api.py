"""Where Prefect is, from its own settings or from what ``up`` wrote down."""

from typing import Any
from urllib.parse import quote

from prefect.settings import get_current_settings

from kodosumi_prefect.settings import Settings, read_address


def api_url(settings: Settings) -> str | None:
    """Prefect's API, without a slash at its end, or None if none is configured or recorded."""
    configured = get_current_settings().api.url
    if configured is None and (recorded := read_address(settings, "prefect")) is not None:
        configured = recorded.get("api_url") or recorded.get("url")
    return str(configured).rstrip("/") if configured else None


def flow_run_url(settings: Settings, fid: str) -> str | None:
    """Where people see the flow run in Prefect's own pages."""
    base = ui_url(settings)
    return f"{base}/runs/flow-run/{fid}" if base else None


def deployment_url(settings: Settings, deployment: str | None) -> str | None:
    """Where people see a deployment, by its id."""
    base = ui_url(settings)
    return f"{base}/deployments/deployment/{deployment}" if base and deployment else None


def work_pool_url(settings: Settings, pool: str | None) -> str | None:
    """Where people see a work pool, by its name."""
    base = ui_url(settings)
    return f"{base}/work-pools/work-pool/{quote(pool, safe='')}" if base and pool else None


def links(settings: Settings, row: dict[str, Any]) -> dict[str, str | None]:
    """Where people see an execution's flow run, deployment and work pool; null if it has none."""
    return {
        "flow_run": flow_run_url(settings, row["fid"]),
        "deployment": deployment_url(settings, row["deployment_id"]),
        "work_pool": work_pool_url(settings, row["work_pool"]),
    }


def ui_url(settings: Settings) -> str | None:
    """Prefect's pages, without a slash at the end: PREFECT_UI_URL, else beside the API."""
    configured = get_current_settings().ui_url
    base = str(configured).rstrip("/") if configured else None
    if base is None and (api := api_url(settings)) is not None:
        base = api.removesuffix("/api")
    return base
