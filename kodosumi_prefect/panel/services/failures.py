"""What is wrong with sources, as a header says it."""

import json
from collections.abc import Mapping

from kodosumi_prefect.panel.audit.entry import public_url

LONGEST_HEADER = 4096  # bytes; servers and proxies take 8 KiB of all headers together
LONGEST_URL, LONGEST_REASON = 300, 300  # characters
OTHERS = "…"  # stands for the sources that there is no room for


def failed_header(failed: Mapping[str, str]) -> str:
    """A JSON object of ASCII in one line: why each source failed, and how many more did.

    Arguments:
        failed: reasons by URL; passwords and queries of URLs are left out.
    """
    named: dict[str, str] = {}
    for url, why in failed.items():
        name = _named(public_url(url))
        one = {f"{name} ({len(named) + 1})" if name in named else name: _cut(why)}
        left = len(failed) - len(named) - 1
        if len(json.dumps(named | one | _more(left))) > LONGEST_HEADER:
            return json.dumps(named | _more(left + 1))
        named |= one
    return json.dumps(named)


def _more(number: int) -> dict[str, str]:
    return {OTHERS: f"{number} more"} if number else {}


def _named(url: str) -> str:
    """A URL that is not too long; of one that is, its beginning and its end tell most."""
    half = LONGEST_URL // 2
    return url if len(url) <= LONGEST_URL else f"{url[:half]}…{url[-half:]}"


def _cut(why: str) -> str:
    return why if len(why) <= LONGEST_REASON else why[: LONGEST_REASON - 1] + "…"
