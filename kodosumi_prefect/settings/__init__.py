"""What can be configured, and where each value came from.

Values are read as Prefect reads its own: environment (``PREFECT_INTEGRATIONS_KODOSUMI_…``), a
``.env`` file, ``prefect.toml`` or ``pyproject.toml``, the active profile, in that order.
"""

from importlib.metadata import version

from kodosumi_prefect.settings.areas.access import SHORTEST_SECRET
from kodosumi_prefect.settings.areas.costs import ModelPrice
from kodosumi_prefect.settings.areas.database import DATABASE_URLS
from kodosumi_prefect.settings.data_dir import (
    make_data_dir,
    private_folder,
    read_address,
    write_address,
)
from kodosumi_prefect.settings.fields import PREFIX, Settings
from kodosumi_prefect.settings.in_force import (
    get_settings,
    read_settings,
    reset_settings,
    use_settings,
)
from kodosumi_prefect.settings.locations import (
    check_database_urls,
    database_url,
    http_url,
    listen_url,
    panel_url,
)
from kodosumi_prefect.settings.postgres_urls import DatabaseUrlError, database_url_fault
from kodosumi_prefect.settings.sources import SettingInForce, kodosumi_notes, origins
from kodosumi_prefect.settings.values import MEBIBYTE, split_names

VERSION = version("kodosumi-prefect")

__all__ = [
    "DATABASE_URLS",
    "MEBIBYTE",
    "PREFIX",
    "SHORTEST_SECRET",
    "VERSION",
    "DatabaseUrlError",
    "ModelPrice",
    "SettingInForce",
    "Settings",
    "check_database_urls",
    "database_url",
    "database_url_fault",
    "get_settings",
    "http_url",
    "kodosumi_notes",
    "listen_url",
    "make_data_dir",
    "origins",
    "panel_url",
    "private_folder",
    "read_address",
    "read_settings",
    "reset_settings",
    "split_names",
    "use_settings",
    "write_address",
]
