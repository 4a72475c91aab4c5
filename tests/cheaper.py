"""What would cost each test processor time and tells it nothing; imported before all else."""

import os
from dataclasses import replace
from functools import cache
from pathlib import Path
from typing import Any
from zoneinfo import available_timezones

# No test speaks TLS, but each HTTP client reads all authorities that it would trust: here one,
# which takes a thirtieth of the time. Before Prefect is imported, which remembers the file.
os.environ["SSL_CERT_FILE"] = str(Path(__file__).with_name("authority.pem"))

# Ray's workers otherwise yield to all others (a niceness of 15, under `up` of 5), and may get next
# to nothing for minutes while other tests run beside them.
os.environ["RAY_worker_niceness"] = "0"  # noqa: SIM112

import fastapi.routing
import httpx._config
import httpx._transports.default
import prefect.settings
import prefect.types._datetime
from pwdlib import PasswordHash
from pwdlib.hashers.argon2 import Argon2Hasher

from kodosumi_prefect.panel.accounts import passwords

# In the session's own process it is read once.
httpx._transports.default.create_ssl_context = cache(httpx._config.create_ssl_context)

hasher_in_use = passwords._hasher
# Passwords are hashed as always, but as cheaply as argon2 can: it takes a tenth of a second.
passwords._hasher = cache(
    lambda: PasswordHash((Argon2Hasher(time_cost=1, memory_cost=8, parallelism=1),))
)

# Prefect asks for them with each schedule that it reads, and Python looks through folders for them.
prefect.types._datetime.available_timezones = cache(available_timezones)

_settings_anew = prefect.settings.Settings.copy_with_update
_settings: dict[Any, tuple[Any, Any]] = {}  # with those they were made of, so that ids stay theirs


def _settings_once(self: prefect.settings.Settings, **changes: Any) -> prefect.settings.Settings:
    """Make the same settings of Prefect once: it reads environment and files each time, 24 ms."""
    environment = tuple(sorted(one for one in os.environ.items() if one[0].startswith("PREFECT_")))
    key = id(self), repr(changes), environment, Path.cwd()
    if "*" in key[1]:  # a secret is not told from another
        return _settings_anew(self, **changes)
    if key not in _settings:
        _settings[key] = self, _settings_anew(self, **changes)
    return _settings[key][1]


prefect.settings.Settings.copy_with_update = _settings_once  # type: ignore[method-assign]

_taken_apart = fastapi.routing._IncludedRouter._build_effective_context
_known: dict[tuple[int, str], tuple[Any, Any]] = {}  # with the routes, so that ids stay theirs


def _taken_apart_once(router: fastapi.routing._IncludedRouter, route: Any) -> Any:
    """Look into a route of the panel for the first of many panels only: a tenth of a second."""
    if not getattr(route.endpoint, "__module__", "").startswith("kodosumi_prefect.panel."):
        return _taken_apart(router, route)
    key = id(route), router.include_context.prefix
    if key not in _known:
        of_no_app = replace(router.include_context, dependency_overrides_provider=None)
        _known[key] = route, _taken_apart(replace(router, include_context=of_no_app), route)
    return _known[key][1]


fastapi.routing._IncludedRouter._build_effective_context = _taken_apart_once  # type: ignore[method-assign]
