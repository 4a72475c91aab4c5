"""Who calls a service: signed by the panel, checked by the service."""

import ipaddress
import time
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any
from urllib.parse import quote, unquote, urlsplit
from uuid import uuid4

import httpx
import jwt
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey, Ed25519PublicKey
from jwt.algorithms import OKPAlgorithm
from starlette.requests import HTTPConnection

from kodosumi_prefect.settings import Settings, panel_url

USER = "x-kodosumi_user"  # id of the account
USERNAME = "x-kodosumi_username"  # its name, percent-encoded where it is not plain ASCII
BASE = "x-kodosumi_base"  # where the service lives
PANEL = "x-kodosumi-url"  # where the panel lives
SIGNATURE = "x-kodosumi-signature"  # a JWT over all of them; the only one that is believed
HEADERS = (USER, USERNAME, BASE, PANEL, SIGNATURE)

INPROCESS = "kodosumi.inprocess"  # in the ASGI scope: the panel itself calls, in its own process
KEY_PATH = "/.well-known/kodosumi/key"

LIFETIME = 45  # seconds that a signature is valid
LEEWAY = 15  # seconds that the clocks of panel and service may differ
FETCH_TIMEOUT = 5.0  # seconds for the panel's key
REFETCH = 5.0  # seconds between fetches, so that forged key ids do not make us ask all the time

_PLAIN = " !#$&'()*+,/:;=?@[]"


class UnsignedError(Exception):
    """A request that the panel did not sign; says why in one line."""


class NoPanelKeyError(UnsignedError):
    """The panel's key cannot be had, so that nothing can be believed; says why in one line."""


@dataclass(frozen=True, slots=True)
class Caller:
    """Who the panel calls a service for.

    Attributes:
        user_id: id of the account.
        username: its name.
        base: where the service lives.
        panel_url: where the panel lives, as the caller reaches it.
    """

    user_id: str
    username: str
    base: str
    panel_url: str


def sign(
    key: Ed25519PrivateKey, caller: Caller, method: str, path: str, *, operator: bool = False
) -> dict[str, str]:
    """The headers that tell a service who calls; for one request within 45 seconds.

    The body is not signed, since it streams. A service that is no friend could send the signature
    on to another one that has the same path, within those seconds.

    Arguments:
        key: the panel's, ``panel_keys(settings).identity``.
        path: of the service's URL, decoded.
        operator: whether the caller is one.
    """
    now = int(time.time())
    claims = {
        "sub": caller.user_id,
        "name": caller.username,
        "operator": operator,
        "base": caller.base,
        "url": caller.panel_url,
        "method": method,
        "path": path,
        "iat": now,
        "exp": now + LIFETIME,
        "jti": uuid4().hex,
    }
    token = jwt.encode(claims, key, algorithm="EdDSA", headers={"kid": key_id(key.public_key())})
    return {**plain(caller), SIGNATURE: token}


def plain(caller: Caller) -> dict[str, str]:
    """The same headers without a signature, for services in the panel's own process."""
    return {
        USER: caller.user_id,
        USERNAME: quote(caller.username, safe=_PLAIN),
        BASE: caller.base,
        PANEL: caller.panel_url,
    }


def public_jwk(key: Ed25519PrivateKey) -> dict[str, Any]:
    """The public half as a JSON Web Key, which the panel serves at ``KEY_PATH``."""
    public = key.public_key()
    return {**_jwk(public), "kid": key_id(public), "alg": "EdDSA", "use": "sig"}


def key_id(key: Ed25519PublicKey) -> str:
    """Names a key by the beginning of its public half."""
    return str(_jwk(key)["x"])[:16]


async def verify(request: HTTPConnection, settings: Settings) -> Caller:
    """Who calls this service.

    What the panel's signature says counts; without one, the bare headers do, if the request
    comes from the panel's own process or from ``settings.trusted_networks``. Calling it twice for
    one request is fine.

    Raises:
        UnsignedError: nothing is signed, or it is forged, expired, used before, or for another
            request; answer 401.
        NoPanelKeyError: the panel that is configured here does not give its key; answer 503.
    """
    known = request.scope.get("kodosumi.caller")
    if isinstance(known, Caller):
        return known
    if request.scope.get(INPROCESS) is True or _is_trusted(request, settings):
        caller = _bare(request.headers)
    else:
        caller = await _signed(request, settings)
    request.scope["kodosumi.caller"] = caller
    return caller


def _bare(headers: Mapping[str, str]) -> Caller:
    return Caller(
        headers.get(USER, ""),
        unquote(headers.get(USERNAME, "")),
        headers.get(BASE, ""),
        headers.get(PANEL, ""),
    )


def _is_trusted(request: HTTPConnection, settings: Settings) -> bool:
    if not settings.trusted_networks or request.client is None:
        return False
    try:
        address = ipaddress.ip_address(request.client.host.partition("%")[0])
    except ValueError:
        return False
    if isinstance(address, ipaddress.IPv6Address) and address.ipv4_mapped is not None:
        address = address.ipv4_mapped
    return any(
        address in ipaddress.ip_network(network, strict=False)
        for network in settings.trusted_networks
    )


async def _signed(request: HTTPConnection, settings: Settings) -> Caller:
    token = request.headers.get(SIGNATURE)
    if token is None:
        raise UnsignedError(
            f"the request has no {SIGNATURE} header; call the service through its panel, or add "
            "the caller's network to trusted_networks"
        )
    try:
        kid = str(jwt.get_unverified_header(token).get("kid"))
        key = await _panel_key(panel_url(settings), kid)
        claims = jwt.decode(
            token,
            key,
            algorithms=["EdDSA"],  # never what the token itself asks for
            leeway=LEEWAY,
            options={"require": ["sub", "exp", "iat", "jti"]},
        )
        caller = Caller(claims["sub"], claims["name"], claims["base"], claims["url"])
        signed = (claims["method"], claims["path"])
    except jwt.ExpiredSignatureError as exc:
        raise UnsignedError(
            "the panel's signature has expired; if this lasts, compare the clocks of panel and "
            "service"
        ) from exc
    except (jwt.InvalidTokenError, KeyError) as exc:
        raise UnsignedError(f"the panel's signature is not valid: {exc}") from exc
    _require_same_request(request, caller, *signed)
    _require_unused(claims["jti"], claims["exp"])
    return caller


def _require_same_request(request: HTTPConnection, caller: Caller, method: str, path: str) -> None:
    """A proxy in between may take away the beginning of the path, and ``root_path`` adds one."""
    seen = [request.scope["path"]]
    if root := request.scope.get("root_path", ""):
        seen.append(seen[0].removeprefix(root))
    signed = path.rstrip("/")
    is_base = unquote(urlsplit(caller.base).path).rstrip("/") == signed
    for candidate in (each.rstrip("/") for each in seen):
        if signed.endswith(candidate) if candidate else is_base:
            break
    else:
        raise UnsignedError(f"the panel's signature is for {path}, not for {seen[0]}")
    if method != request.scope.get("method"):
        raise UnsignedError(f"the panel's signature is for {method}")


_used: dict[str, float] = {}  # ids of signatures and when they expire, oldest first


def _require_unused(jti: str, expires: float) -> None:
    now = time.time()
    if jti in _used:
        raise UnsignedError("the panel's signature was used before")
    while _used and next(iter(_used.values())) + LEEWAY < now:
        del _used[next(iter(_used))]
    _used[jti] = expires


_keys: dict[str, tuple[float, dict[str, Ed25519PublicKey]]] = {}  # by panel; when fetched, keys


async def _panel_key(url: str, kid: str) -> Ed25519PublicKey:
    fetched, keys = _keys.get(url, (-REFETCH, {}))
    if kid not in keys and time.monotonic() - fetched >= REFETCH:
        keys = await _fetch(url)
        _keys[url] = (time.monotonic(), keys)
    if kid not in keys:
        raise UnsignedError(f"another panel than {url} signed the request; is panel_url right?")
    return keys[kid]


async def _fetch(url: str) -> dict[str, Ed25519PublicKey]:
    where = url + KEY_PATH
    try:
        async with httpx.AsyncClient(timeout=FETCH_TIMEOUT, trust_env=False) as client:
            answer = await client.get(where)
        answer.raise_for_status()
        jwk = answer.json()
        key = OKPAlgorithm.from_jwk(jwk)
        if not isinstance(key, Ed25519PublicKey):
            raise ValueError("it is no Ed25519 public key")
        return {key_id(key): key}
    except (httpx.HTTPError, httpx.InvalidURL, jwt.InvalidKeyError, ValueError) as exc:
        said = str(exc).splitlines() or [type(exc).__name__]
        raise NoPanelKeyError(
            f"the panel's key cannot be read from {where}: {said[0]}; set panel_url to where this "
            "service reaches the panel"
        ) from exc


def _jwk(key: Ed25519PublicKey) -> dict[str, Any]:
    return OKPAlgorithm.to_jwk(key, as_dict=True)
