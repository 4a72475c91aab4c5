"""JSON that is sent without saying so, as ``curl -d`` does.

It says that it sends a form. No form begins with a brace or a bracket: programs and browsers encode
both, so what begins with one is JSON.
"""

from collections.abc import Callable

from starlette.types import ASGIApp, Message, Receive, Scope, Send

JSON = b"application/json"


async def typed(scope: Scope, receive: Receive) -> Receive:
    """Look at how a body begins; one that is JSON is said to be in ``scope``.

    Returns:
        What the body is read with from now on.
    """
    if not _doubtful(scope):
        return receive
    begun: list[Message] = []
    first = b""
    while not first:
        message = await receive()
        begun.append(message)
        first = message.get("body", b"").lstrip()[:1]
        if not message.get("more_body", False):  # neither has a request whose sender is gone
            break
    if first in (b"{", b"["):
        others = [pair for pair in scope["headers"] if pair[0].lower() != b"content-type"]
        scope["headers"] = [*others, (b"content-type", JSON)]
    begun.reverse()

    async def replayed() -> Message:
        return begun.pop() if begun else await receive()

    return replayed


class UntypedJson:
    """ASGI middleware: JSON bodies are JSON, whatever their content type says.

    It protects from nothing: what a page of another site sends has to be refused before.

    Arguments:
        spared: requests whose bodies are for others to read.
    """

    def __init__(self, app: ASGIApp, spared: Callable[[Scope], bool]) -> None:
        self._app = app
        self._spared = spared

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] == "http" and not self._spared(scope):
            receive = await typed(scope, receive)
        await self._app(scope, receive, send)


def _doubtful(scope: Scope) -> bool:
    """Whether there is a body that may be JSON without being called so."""
    headers = {name.lower(): value for name, value in scope["headers"]}
    if headers.get(b"content-length", b"0") == b"0" and b"transfer-encoding" not in headers:
        return False
    return not is_json(scope) and not _kind(scope).startswith(b"multipart/")


def is_json(scope: Scope) -> bool:
    """Whether a request says, by now, that its body is JSON."""
    kind = _kind(scope)
    return kind == JSON or kind.endswith(b"+json")


def _kind(scope: Scope) -> bytes:
    kinds = [value for name, value in scope["headers"] if name.lower() == b"content-type"]
    return bytes(kinds[-1].partition(b";")[0].strip().lower()) if kinds else b""
