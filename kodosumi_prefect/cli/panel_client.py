"""What commands ask the panel for, as whoever's key they have."""

import os
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import httpx

from kodosumi_prefect.cli.output import CommandError, require_database
from kodosumi_prefect.cli.running import hint
from kodosumi_prefect.settings import Settings, database_url, get_settings, panel_url
from kodosumi_prefect.vocabulary import API_KEY_HEADER

KEY_VARIABLE = API_KEY_HEADER  # of the environment: named as the header it goes into
PATIENCE = 60.0  # seconds for an answer


class NotThereError(CommandError):
    """The panel has nothing of that name, or nothing that whoever asks may see."""


class Panel:
    """The panel that counts: ``panel_url``, or the one of the stack that runs.

    It is asked with the API key of the environment; without one, on the machine of the panel, as
    an operator.

    Raises:
        CommandError: there is no key, and nobody can be signed in without one.
    """

    def __init__(self, settings: Settings | None = None) -> None:
        self.settings = settings or get_settings()
        self.url = panel_url(self.settings)
        headers = {API_KEY_HEADER: _key(self.settings), "accept": "application/json"}
        self._http = httpx.Client(
            base_url=self.url, headers=headers, timeout=PATIENCE, trust_env=False
        )

    def __enter__(self) -> "Panel":
        return self

    def __exit__(self, *exc: object) -> None:
        self._http.close()

    def ask(self, method: str, path: str, **more: Any) -> Any:
        """What it answers, as JSON; None if that is nothing.

        Raises:
            CommandError: it does not answer, or refuses, in one line.
        """
        with self._named():
            answer = self._http.request(method, path, **more)
        if answer.is_error:
            raise _refusal(answer)
        return answer.json() if answer.content else None

    @contextmanager
    def stream(self, method: str, path: str, headers: dict[str, str]) -> Iterator[httpx.Response]:
        """What it answers, to be read in pieces; errors as of ``ask``."""
        with self._named(), self._http.stream(method, path, headers=headers) as answer:
            if answer.is_error:
                answer.read()
                raise _refusal(answer)
            yield answer

    @contextmanager
    def _named(self) -> Iterator[None]:
        """Errors of the way to the panel, in one line."""
        try:
            yield
        except httpx.HTTPError as exc:
            why = " ".join(str(exc).split()) or type(exc).__name__
            raise CommandError(
                f"the panel at {self.url} does not answer ({why}); start `kodosumi-prefect up`, or "
                f"set panel_url{hint(self.settings)}"
            ) from exc

    def pages(self, path: str, **parameters: Any) -> list[dict[str, Any]]:
        """All items of a list that is answered in pages."""
        items: list[dict[str, Any]] = []
        offset: str | None = None
        while True:
            more = {"offset": offset} if offset else {}
            page = self.ask("GET", path, params={**parameters, "pp": 100, **more})
            items += page["items"]
            offset = page.get("offset")
            if not offset:
                return items


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


def _refusal(answer: httpx.Response) -> CommandError:
    return (NotThereError if answer.status_code == 404 else CommandError)(_reason(answer))


def _reason(answer: httpx.Response) -> str:
    try:
        body = answer.json()
    except ValueError:
        body = None
    detail = body.get("detail") if isinstance(body, dict) else None
    if answer.status_code == 401:
        return f"the panel at {answer.url.host} does not take this key: {detail}"
    return str(detail or f"the panel answered {answer.status_code} to {answer.url.path}")
