"""The list of what you can launch."""

from typing import Annotated
from urllib.parse import urlencode

from fastapi import APIRouter, Query, Request
from fastapi.responses import Response

from kodosumi_prefect.events import clean
from kodosumi_prefect.panel.accounts.permissions import CurrentUser
from kodosumi_prefect.panel.services.cards import cards
from kodosumi_prefect.panel.web.parameters import Panel
from kodosumi_prefect.panel.web.templating import page

ROWS = 30  # endpoints on a page of the list
TAGS = 15  # shown before the others, which are folded

router = APIRouter(include_in_schema=False)


@router.get("/services")
async def services(
    request: Request,
    panel: Panel,
    user: CurrentUser,
    q: Annotated[str, Query(max_length=1000)] = "",
    tag: Annotated[list[str] | None, Query(max_length=50)] = None,
    after: Annotated[str | None, Query(pattern="^[0-9a-f]{32}$")] = None,
) -> Response:
    """The list, by summary."""
    words, chosen = clean(q), [clean(each) for each in tag or ()]
    rows = await panel.register.endpoints(query=words, tags=chosen, after=after, limit=ROWS + 1)
    counted = await panel.register.tags()
    tags = [
        {
            "name": name,
            "count": count,
            "chosen": name in chosen,
            "link": _link(words, _toggled(chosen, name)),
        }
        for name, count in sorted(
            (dict.fromkeys(chosen, 0) | counted).items(),
            key=lambda entry: entry[0] not in chosen,
        )
    ]
    here = rows[:ROWS]
    context = {
        "cards": await cards(panel, user, here),
        "query": words,
        "chosen": chosen,
        "tags": tags[:TAGS],
        "more_tags": tags[TAGS:],
        "after": after,
        "first": _link(words, chosen),
        "next": _link(words, chosen, here[-1].uid) if len(rows) > ROWS else None,
    }
    return page(request, "services.html", context)


def _toggled(chosen: list[str], tag: str) -> list[str]:
    return [each for each in chosen if each != tag] if tag in chosen else [*chosen, tag]


def _link(query: str, tags: list[str], after: str | None = None) -> str:
    """The list with these filters, below the panel's root."""
    pairs = [("q", query)] if query else []
    pairs += [("tag", tag) for tag in tags]
    pairs += [("after", after)] if after else []
    return "services" + (f"?{urlencode(pairs)}" if pairs else "")
