"""Where people see things in Prefect's own pages."""

from urllib.parse import quote

from prefect.settings import get_current_settings

from kodosumi_prefect.addresses import prefect_access
from kodosumi_prefect.settings import Settings
from kodosumi_prefect.stream.rows import StoredExecution


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


def links(settings: Settings, execution: StoredExecution) -> dict[str, str | None]:
    """Where people see an execution's flow run, deployment and work pool; null if it has none."""
    return {
        "flow_run": flow_run_url(settings, execution.fid),
        "deployment": deployment_url(settings, execution.deployment_id),
        "work_pool": work_pool_url(settings, execution.work_pool),
    }


def ui_url(settings: Settings) -> str | None:
    """Prefect's pages, without a slash at the end: PREFECT_UI_URL, else beside the API."""
    configured = get_current_settings().ui_url
    base = str(configured).rstrip("/") if configured else None
    if base is None and (access := prefect_access(settings)) is not None:
        base = access.url.removesuffix("/api")
    return base
