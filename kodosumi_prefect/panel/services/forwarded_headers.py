"""Which headers pass between people and services.

A service is not trusted with who somebody is to the panel, and what it answers is shown under the
panel's own origin: it must not set cookies, run scripts or lead browsers astray there.
"""

from collections.abc import Iterable
from http.cookiejar import CookieJar, DefaultCookiePolicy

from kodosumi_prefect.vocabulary import API_KEY_HEADER, OWN_HEADERS, SCHEDULE_HEADER

Headers = list[tuple[bytes, bytes]]

_API_KEY = API_KEY_HEADER.lower().encode()
_OWN = OWN_HEADERS.encode()

# Meant for the next hop only; RFC 9110, 7.6.1.
HOP_BY_HOP = frozenset(
    {
        *(b"connection", b"keep-alive", b"proxy-connection", b"proxy-authenticate"),
        *(b"proxy-authorization", b"te", b"trailer", b"trailers", b"transfer-encoding"),
        *(b"upgrade", b"expect"),
    }
)
# Who somebody is to the panel, where a request came from, and what we set ourselves.
PRIVATE = frozenset(
    {
        *(b"host", b"cookie", b"authorization", _API_KEY, _API_KEY.replace(b"_", b"-")),
        *(b"forwarded", b"via", b"x-real-ip", b"origin", b"referer"),
    }
)
PRIVATE_BEGINNINGS = (b"x-forwarded-", b"sec-", _OWN, b"x-auth-request-")
SCHEDULE = SCHEDULE_HEADER.encode()  # of ours, the only one that people send

# What passes of an answer, beside headers that begin with kodosumi or x-kodosumi.
ANSWERED = frozenset(
    {
        *(b"content-type", b"content-length", b"content-encoding", b"content-language"),
        *(b"content-disposition", b"content-range", b"accept-ranges"),
        *(b"etag", b"last-modified", b"vary", b"retry-after", b"allow"),
        *(b"x-request-id", b"x-process-time"),
    }
)
# Types that no browser runs; anything else is given as a file to save.
HARMLESS = frozenset(
    {
        *("application/json", "application/problem+json", "application/x-ndjson"),
        *("text/plain", "text/csv", "text/markdown", "text/event-stream"),
        *("image/png", "image/jpeg", "image/gif", "image/webp"),
    }
)
SANDBOX = b"sandbox; default-src 'none'; frame-ancestors 'none'"


def request_headers(headers: Iterable[tuple[bytes, bytes]], private: Iterable[str]) -> Headers:
    """The headers of a request that a service gets.

    Arguments:
        private: further names that are the panel's alone, such as ``proxy_header``.
    """
    known = [(name.lower(), value) for name, value in headers]
    dropped = HOP_BY_HOP | PRIVATE | _named_in_connection(known)
    dropped |= {name.lower().encode() for name in private}
    return [
        (name, value)
        for name, value in known
        # With _ for - some servers take them for the same header.
        if name == SCHEDULE
        or (name not in dropped and not name.replace(b"_", b"-").startswith(PRIVATE_BEGINNINGS))
    ]


def response_headers(headers: Iterable[tuple[bytes, bytes]]) -> Headers:
    """The headers of an answer that clients get."""
    known = [(name.lower(), value) for name, value in headers]
    dropped = HOP_BY_HOP | _named_in_connection(known)
    passed = [
        (name, value)
        for name, value in known
        if name not in dropped and (name in ANSWERED or name.startswith((b"kodosumi", _OWN)))
    ]
    media = dict(passed).get(b"content-type", b"").decode("latin-1")
    if media.partition(";")[0].strip().lower() not in HARMLESS:
        unsafe = (b"content-type", b"content-disposition")
        saved = [value for name, value in passed if name == b"content-disposition"]
        passed = [pair for pair in passed if pair[0] not in unsafe]
        passed.append((b"content-type", b"application/octet-stream"))
        whole = saved and saved[0].lower().startswith(b"attachment")
        passed.append((b"content-disposition", saved[0] if whole else b"attachment"))
    passed.append((b"content-security-policy", SANDBOX))
    # What one person is answered, no cache may give to another, whatever the service says of it.
    passed.append((b"cache-control", b"no-store"))
    return passed


def no_cookies() -> CookieJar:
    """A jar that stays empty, so that no answer's cookies go along with another's request."""
    return CookieJar(DefaultCookiePolicy(allowed_domains=()))


def _named_in_connection(headers: Headers) -> frozenset[bytes]:
    return frozenset(
        part.strip().lower()
        for name, value in headers
        if name == b"connection"
        for part in value.split(b",")
    )
