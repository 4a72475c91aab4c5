"""One TLS context for all of Prefect's clients in a process; read in Prefect 3.8.8.

Each client reads every certificate of an authority that there is, and the process of a run makes a
dozen clients before the run's first line: that took a third of its processor time.
"""

import contextlib
import functools
import ssl
from collections.abc import Callable
from pathlib import Path
from typing import Any

import certifi
from prefect.client.orchestration import PrefectClient, SyncPrefectClient
from prefect.settings import get_current_settings

_SHARES = "kodosumi_shares"

_contexts: dict[tuple[str, int, int], ssl.SSLContext] = {}


def share_tls_context() -> None:
    """Have Prefect's clients share the context for the certificates they verify by.

    Processes that are forked afterwards have it, too. Clients that verify nothing, or that are
    given a context, are as they were.
    """
    for kind in (PrefectClient, SyncPrefectClient):
        if not hasattr(kind.__init__, _SHARES):
            kind.__init__ = _sharing(kind.__init__)  # type: ignore[method-assign]
    if not get_current_settings().api.tls_insecure_skip_verify:
        with contextlib.suppress(OSError):  # whoever makes a client hears of it
            _context()


def _sharing(original: Callable[..., None]) -> Callable[..., None]:
    @functools.wraps(original)
    def init(self: object, *args: Any, **options: Any) -> None:
        settings = options.get("httpx_settings") or {}
        if "verify" not in settings and not get_current_settings().api.tls_insecure_skip_verify:
            options["httpx_settings"] = settings | {"verify": _context()}
        original(self, *args, **options)

    setattr(init, _SHARES, True)
    return init


def _context() -> ssl.SSLContext:
    """The one for the file of certificates that is in force, as it is now."""
    file = get_current_settings().api.ssl_cert_file or certifi.where()
    status = Path(file).stat()
    key = (str(file), status.st_mtime_ns, status.st_size)
    if key not in _contexts:
        _contexts[key] = ssl.create_default_context(cafile=file)
    return _contexts[key]
