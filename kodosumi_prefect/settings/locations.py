"""Where the database and the panel are: configured, or written down in the data dir."""

from pydantic import SecretStr

from kodosumi_prefect.settings.areas.database import DATABASE_URLS
from kodosumi_prefect.settings.data_dir import read_address
from kodosumi_prefect.settings.fields import Settings
from kodosumi_prefect.settings.postgres_urls import DatabaseUrlError, database_url_fault


def database_url(settings: Settings) -> str | None:
    """The configured Postgres, else the embedded one recorded for the data dir, else None.

    Raises:
        DatabaseUrlError: what is configured is no URL of a Postgres.
    """
    if (url := _checked(settings, "database_url")) is not None:
        return url
    recorded = read_address(settings, "postgres")
    return str(recorded["url"]) if recorded else None


def listen_url(settings: Settings) -> str | None:
    """The connection to use for LISTEN: the direct one if configured, else ``database_url``.

    Raises:
        DatabaseUrlError: what is configured is no URL of a Postgres.
    """
    return _checked(settings, "database_listen_url") or database_url(settings)


def panel_url(settings: Settings) -> str:
    """Where people reach the panel: configured, recorded by ``up``, or host and port."""
    if settings.panel_url:
        return settings.panel_url.rstrip("/")
    recorded = read_address(settings, "panel")
    return str(recorded["url"]) if recorded else http_url(settings.host, settings.port)


def http_url(host: str, port: int) -> str:
    """Where a server that listens on ``host`` is found; one that does on all addresses, here."""
    host = {"0.0.0.0": "127.0.0.1", "::": "::1"}.get(host, host)
    return f"http://[{host}]:{port}" if ":" in host else f"http://{host}:{port}"


def check_database_urls(settings: Settings) -> None:
    """Refuse what ``get_settings`` lets through; raises DatabaseUrlError."""
    for name in DATABASE_URLS:
        _checked(settings, name)


def _checked(settings: Settings, name: str) -> str | None:
    """A database's URL as it is set; raises DatabaseUrlError if it is none."""
    value: SecretStr | None = getattr(settings, name)
    if value is None:
        return None
    url = value.get_secret_value()
    if (fault := database_url_fault(url)) is not None:
        raise DatabaseUrlError(f"{name} {fault}")
    return url
