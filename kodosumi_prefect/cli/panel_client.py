"""What commands ask the panel for, as whoever's key they have."""

import os
from types import TracebackType
from typing import Any
from urllib.parse import urlsplit

from kodosumi_prefect.cli.output import CommandError, require_database
from kodosumi_prefect.cli.running import hint
from kodosumi_prefect.client import (
    Client,
    DamagedError,
    FieldsError,
    RefusedError,
    UnidentifiedError,
    UnreachableError,
)
from kodosumi_prefect.client.async_client import KEY_VARIABLE
from kodosumi_prefect.files.names import FileNameError
from kodosumi_prefect.settings import Settings, database_url, get_settings, panel_url

TIMEOUT = 60.0  # seconds for an answer


class Panel:
    """The panel that counts: ``panel_url``, or the one of the stack that runs.

    It is asked with the API key of the environment; without one, on the machine of the panel, as
    an operator. Why it refuses, or does not answer, is a ``CommandError`` behind the block that
    this is the context of.

    Raises:
        CommandError: there is no key, and nobody can be signed in without one.
    """

    def __init__(self, settings: Settings | None = None) -> None:
        self.settings = settings or get_settings()
        self.url = panel_url(self.settings)
        key = _key(self.settings)
        self.client = Client(self.url, key=key, timeout=TIMEOUT, patience=0, trust_env=False)

    def __enter__(self) -> "Panel":
        return self

    def __exit__(
        self, _: type[BaseException] | None, exc: BaseException | None, __: TracebackType | None
    ) -> None:
        self.client.close()
        if (reason := self._reason(exc)) is not None:
            raise CommandError(reason) from exc

    def ask(self, method: str, path: str, **more: Any) -> Any:
        """What it answers, as JSON; None if that is nothing."""
        return self.client.request(method, path, **more)

    def pages(self, path: str, **parameters: Any) -> list[dict[str, Any]]:
        """All items of a list that is answered in pages."""
        return list(self.client.pages(path, **parameters))

    def _reason(self, exc: BaseException | None) -> str | None:
        """Why a command fails, in one line; None if not because of the panel."""
        match exc:
            case UnidentifiedError():
                host = urlsplit(self.url).hostname
                return f"the panel at {host} does not take this key: {exc.detail}"
            case UnreachableError():
                return f"{exc}; start `kodosumi-prefect up`, or set panel_url{hint(self.settings)}"
            case RefusedError() | FieldsError() | DamagedError() | FileNameError():
                return str(exc)
            case _:
                return None


def _key(settings: Settings) -> str:
    if key := os.environ.get(KEY_VARIABLE):
        return key
    if database_url(settings) is None:
        raise CommandError(
            f"{KEY_VARIABLE} is not set, and no stack runs for {settings.data_dir}; make a key on "
            f"the panel's page Account{hint(settings)}"
        )
    require_database(settings)
    try:
        from kodosumi_prefect.panel.accounts.local_sign_in import local_token
    except ModuleNotFoundError as exc:
        raise CommandError(f"{exc.name} is missing; install kodosumi-prefect[panel]") from exc
    try:
        return local_token(settings)
    except LookupError as exc:
        raise CommandError(str(exc)) from exc
