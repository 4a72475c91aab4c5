"""The panel from a program without asyncio: every method of ``AsyncClient``, as it is there."""

import functools
import inspect
import os
import ssl
from collections.abc import AsyncGenerator, Callable, Coroutine, Iterator
from typing import Any, Concatenate, ParamSpec, Self, TypeVar

from kodosumi_prefect.client.async_client import PATIENCE, TIMEOUT, AsyncClient
from kodosumi_prefect.client.bridge import Bridge

P = ParamSpec("P")
T = TypeVar("T")


def _waits(
    method: Callable[Concatenate[AsyncClient, P], Coroutine[Any, Any, T]],
) -> Callable[Concatenate["Client", P], T]:
    """The same, which returns when it is done."""

    @functools.wraps(method)
    def call(self: "Client", /, *args: P.args, **kwargs: P.kwargs) -> T:
        bridge, client = self._here()
        return bridge.run(method(client, *args, **kwargs))

    _describe(call, method)
    return call


def _iterates(
    method: Callable[Concatenate[AsyncClient, P], AsyncGenerator[T, None]],
) -> Callable[Concatenate["Client", P], Iterator[T]]:
    """The same, as an iterator."""

    @functools.wraps(method)
    def call(self: "Client", /, *args: P.args, **kwargs: P.kwargs) -> Iterator[T]:
        bridge, client = self._here()
        return bridge.iterate(method(client, *args, **kwargs))

    _describe(call, method)
    return call


def _describe(call: Any, method: Callable[..., Any]) -> None:
    del call.__wrapped__  # else it seems to be a coroutine function
    call.__signature__ = inspect.signature(method)


class Client:
    """Asks a panel; a context manager. Any thread may use it.

    Example:
        ```python
        with Client("https://panel.example.com", key="…") as client:
            fid = client.launch("/-/127.0.0.1/8001/-/", {"topic": "tides"})
            print(client.result(fid))
        ```

    Arguments and errors are those of ``AsyncClient``.
    """

    def __init__(
        self,
        url: str | None = None,
        *,
        key: str | None = None,
        login: tuple[str, str] | None = None,
        timeout: float = TIMEOUT,
        patience: float = PATIENCE,
        trust_env: bool = True,
        verify: ssl.SSLContext | bool = True,
    ) -> None:
        self._make = functools.partial(
            AsyncClient,
            url,
            key=key,
            login=login,
            timeout=timeout,
            patience=patience,
            trust_env=trust_env,
            verify=verify,
        )
        self._begin()

    def _begin(self) -> None:
        self._process, self._bridge, self._client = os.getpid(), Bridge(), self._make()

    def _here(self) -> tuple[Bridge, AsyncClient]:
        """What this process asks by; one that was forked has its own thread and connections."""
        if self._process != os.getpid():
            self._begin()
        return self._bridge, self._client

    @property
    def url(self) -> str:
        """The panel's address."""
        return self._client.url

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *exc: object) -> None:
        self.close()

    def close(self) -> None:
        """Close all connections."""
        bridge, client = self._here()
        bridge.run(client.close())
        bridge.close()

    request = _waits(AsyncClient.request)
    pages = _iterates(AsyncClient.pages)
    endpoints = _iterates(AsyncClient.endpoints)
    form = _waits(AsyncClient.form)
    shown = _waits(AsyncClient.shown)
    launch = _waits(AsyncClient.launch)
    status = _waits(AsyncClient.status)
    follow = _iterates(AsyncClient.follow)
    wait = _waits(AsyncClient.wait)
    result = _waits(AsyncClient.result)
    executions = _iterates(AsyncClient.executions)
    cancel = _waits(AsyncClient.cancel)
    locks = _iterates(AsyncClient.locks)
    elements = _waits(AsyncClient.elements)
    answer = _waits(AsyncClient.answer)
    changes = _iterates(AsyncClient.changes)
    files = _waits(AsyncClient.files)
    upload = _waits(AsyncClient.upload)
    sent = _waits(AsyncClient.sent)
    download = _waits(AsyncClient.download)
