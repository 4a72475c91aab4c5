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
        one = {_cut(public_url(url), LONGEST_URL): _cut(why, LONGEST_REASON)}
        left = len(failed) - len(named) - 1
        if len(json.dumps(named | one | _more(left))) > LONGEST_HEADER:
            return json.dumps(named | _more(left + 1))
        named |= one
    return json.dumps(named)


def _more(number: int) -> dict[str, str]:
    return {OTHERS: f"{number} more"} if number else {}


def _cut(text: str, longest: int) -> str:
    return text if len(text) <= longest else text[: longest - 1] + "…"
