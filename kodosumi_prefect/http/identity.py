"""Who calls a service: signed by the panel, checked by the service."""

import ipaddress
import time
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Literal
from urllib.parse import quote, unquote
from uuid import uuid4

import httpx
import jwt
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey, Ed25519PublicKey
from jwt.algorithms import OKPAlgorithm
from starlette.requests import ClientDisconnect, HTTPConnection, Request

from kodosumi_prefect.http.audience import another_service
from kodosumi_prefect.http.body import SIGNED, Digest, digest_of
from kodosumi_prefect.settings import Settings, panel_url
from kodosumi_prefect.vocabulary import (
    BASE_HEADER,
    CALLER_SCOPE,
    DIGEST_SCOPE,
    INPROCESS_SCOPE,
    KEY_PATH,
    OPERATOR_SCOPE,
    PANEL_HEADER,
    SIGNATURE_HEADER,
    USER_HEADER,
    USERNAME_HEADER,
)

LIFETIME = 45  # seconds that a signature is valid
LEEWAY = 15  # seconds that the clocks of panel and service may differ
FETCH_TIMEOUT = 5.0  # seconds for the panel's key
REFETCH = 5.0  # seconds between fetches, so that forged key ids do not cause constant fetching

_PLAIN = " !#$&'()*+,/:;=?@[]"

Purpose = Literal["endpoint", "lock"]  # the purpose of a call


class UnsignedError(Exception):
    """A request that the panel did not sign; says why in one line."""


class NoPanelKeyError(UnsignedError):
    """The panel's key cannot be fetched, so no signature can be checked; says why in one line."""


@dataclass(frozen=True, slots=True)
class ServiceCaller:
    """Who the panel calls a service for.

    Attributes:
        user_id: id of the account.
        username: its name.
        base: where the service runs.
        panel_url: where the panel runs, as the caller reaches it.
        operator: whether it is an operator, or a developer of the service, who may see what is
            wrong inside it.
    """

    user_id: str
    username: str
    base: str
    panel_url: str
    operator: bool = False


def sign(
    key: Ed25519PrivateKey,
    caller: ServiceCaller,
    method: str,
    path: str,
    *,
    query: str = "",
    body: bytes | None = b"",
    purpose: Purpose = "endpoint",
    operator: bool = False,
) -> dict[str, str]:
    """The headers that name the caller to a service; for one request within 45 seconds.

    They are good for nothing else: not at another service than the one at ``caller.base``, nor for
    another path, query, method or body. Headers are not signed, and of a body that is too large
    only that it is.

    Arguments:
        key: the panel's, ``panel_keys(settings).identity``.
        path: of the service's URL, decoded.
        query: of the URL, as it is sent.
        body: the whole of it; None if it has more than ``SIGNED`` bytes.
        operator: whether the caller is one.
    """
    now = int(time.time())
    claims = {
        "sub": caller.user_id,
        "name": caller.username,
        "operator": operator,
        "base": caller.base,
        "url": caller.panel_url,
        "purpose": purpose,
        "method": method,
        "path": path,
        "query": query,
        "body": digest_of(body),
        "iat": now,
        "exp": now + LIFETIME,
        "jti": uuid4().hex,
    }
    token = jwt.encode(claims, key, algorithm="EdDSA", headers={"kid": key_id(key.public_key())})
    return {**unsigned_headers(caller), SIGNATURE_HEADER: token}


def unsigned_headers(caller: ServiceCaller) -> dict[str, str]:
    """The same headers without a signature, for services in the panel's own process."""
    return {
        USER_HEADER: caller.user_id,
        USERNAME_HEADER: quote(caller.username, safe=_PLAIN),
        BASE_HEADER: caller.base,
        PANEL_HEADER: caller.panel_url,
    }


def public_jwk(key: Ed25519PrivateKey) -> dict[str, Any]:
    """The public half as a JSON Web Key, which the panel serves at ``KEY_PATH``."""
    public = key.public_key()
    return {**_jwk(public), "kid": key_id(public), "alg": "EdDSA", "use": "sig"}


def key_id(key: Ed25519PublicKey) -> str:
    """Names a key by the beginning of its public half."""
    return str(_jwk(key)["x"])[:16]


async def verify(
    request: HTTPConnection, settings: Settings, purpose: Purpose = "endpoint"
) -> ServiceCaller:
    """Who calls this service.

    The panel's signature decides; without one, the bare headers do, if the request
    comes from the panel's own process or from ``settings.trusted_networks``. Calling it twice for
    one request is fine. The body is read, and kept by the request, unless it is large.

    Arguments:
        purpose: what the request has to be signed for.

    Raises:
        UnsignedError: nothing is signed, or it is forged, expired, used before, or for another
            request; answer 401.
        NoPanelKeyError: the configured panel does not return its key; answer 503.
    """
    known = request.scope.get(CALLER_SCOPE)
    if isinstance(known, ServiceCaller):
        return known
    if request.scope.get(INPROCESS_SCOPE) is True:
        caller = _bare(request.headers, request.scope.get(OPERATOR_SCOPE) is True)
    elif _is_trusted(request, settings):
        caller = _bare(request.headers, _is_of_operator(request.headers))
    else:
        caller = await _signed(request, settings, purpose)
    request.scope[CALLER_SCOPE] = caller
    return caller


def _bare(headers: Mapping[str, str], operator: bool) -> ServiceCaller:
    return ServiceCaller(
        headers.get(USER_HEADER, ""),
        unquote(headers.get(USERNAME_HEADER, "")),
        headers.get(BASE_HEADER, ""),
        headers.get(PANEL_HEADER, ""),
        operator,
    )


def _is_of_operator(headers: Mapping[str, str]) -> bool:
    """Whether an operator, or a developer of the service, sends this from a trusted network.

    Panels sign for whom they call there as well. Without a signature or a name it is no panel:
    somebody of that network tries the service by hand, and could take on any name anyway.
    """
    token = headers.get(SIGNATURE_HEADER)
    if token is None:
        return USER_HEADER not in headers
    try:
        claims = jwt.decode(token, options={"verify_signature": False})
    except jwt.InvalidTokenError:
        return False
    return claims.get("operator") is True


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


async def _signed(request: HTTPConnection, settings: Settings, purpose: Purpose) -> ServiceCaller:
    token = request.headers.get(SIGNATURE_HEADER)
    if token is None:
        raise UnsignedError(
            f"the request has no {SIGNATURE_HEADER} header; call the service through its panel, or "
            "add the caller's network to trusted_networks"
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
        caller = ServiceCaller(
            claims["sub"],
            claims["name"],
            claims["base"],
            claims["url"],
            claims.get("operator") is True,
        )
        signed_for = claims.get("purpose")
        if signed_for is None:
            raise UnsignedError(
                "the panel is of an older version, whose signatures could be sent on to any "
                "service; upgrade the panel first"
            )
        method, path, query = claims["method"], claims["path"], claims["query"]
        body: str | None = claims["body"]
    except jwt.ExpiredSignatureError as exc:
        raise UnsignedError(
            "the panel's signature has expired; if this lasts, compare the clocks of panel and "
            "service"
        ) from exc
    except (jwt.InvalidTokenError, KeyError) as exc:
        raise UnsignedError(f"the panel's signature is not valid: {exc}") from exc
    scope = request.scope
    if other := another_service(scope, caller.base, path, settings.service_url):
        raise UnsignedError(other)
    if signed_for != purpose:
        raise UnsignedError(f"the panel's signature is for a service's {signed_for}")
    if method != scope.get("method"):
        raise UnsignedError(f"the panel's signature is for {method}")
    if query.encode() != scope.get("query_string", b""):
        raise UnsignedError("the panel's signature is for another query")
    _require_unused(claims["jti"], claims["exp"])
    await _require_body(request, body)
    return caller


async def _require_body(request: HTTPConnection, signed: str | None) -> None:
    """Read the body, if it is one that is signed, and compare.

    Arguments:
        signed: its SHA-256; None for one that is too large for that.
    """
    if signed is None:
        length = request.headers.get("content-length", "")
        if length.isdecimal() and int(length[:18]) <= SIGNED:
            raise UnsignedError("the panel's signature is for a larger body")
        return
    digest = request.scope.get(DIGEST_SCOPE)
    body: bytes | None = None
    if isinstance(request, Request) and not (isinstance(digest, Digest) and digest.whole):
        try:
            body = await request.body()
        except ClientDisconnect as exc:
            raise UnsignedError("the body broke off") from exc
        except RuntimeError:
            # Another app has read it as a form, of which no bytes are left.
            return
    if signed != (digest.hex() if isinstance(digest, Digest) else digest_of(body)):
        raise UnsignedError("the panel's signature is for another body")


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
            raise ValueError("it is not an Ed25519 public key")
        return {key_id(key): key}
    except (httpx.HTTPError, httpx.InvalidURL, jwt.InvalidKeyError, ValueError) as exc:
        lines = str(exc).splitlines() or [type(exc).__name__]
        raise NoPanelKeyError(
            f"the panel's key cannot be read from {where}: {lines[0]}; set panel_url to where this "
            "service reaches the panel"
        ) from exc


def _jwk(key: Ed25519PublicKey) -> dict[str, Any]:
    return OKPAlgorithm.to_jwk(key, as_dict=True)
