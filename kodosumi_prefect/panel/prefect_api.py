"""Where Prefect is, from its own settings or from what ``up`` wrote down."""

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
    configured = get_current_settings().ui_url
    base = str(configured).rstrip("/") if configured else None
    if base is None and (api := api_url(settings)) is not None:
        base = api.removesuffix("/api")
    return f"{base}/runs/flow-run/{fid}" if base else None
