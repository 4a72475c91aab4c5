"""The list of what you can launch."""

from dataclasses import asdict
from functools import partial
from typing import Annotated, Literal
from urllib.parse import urlencode

from fastapi import APIRouter, Form, Path, Query, Request
from fastapi.responses import RedirectResponse, Response

from kodosumi_prefect.database.rows.services import RegisteredEndpoint
from kodosumi_prefect.events import clean
from kodosumi_prefect.panel.accounts.permissions import CurrentUser
from kodosumi_prefect.panel.services.cards import cards
from kodosumi_prefect.panel.services.cards import first as first_of
from kodosumi_prefect.panel.web.parameters import Panel
from kodosumi_prefect.panel.web.templating import page
from kodosumi_prefect.refusals import NotFoundError

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
    schedule: bool = False,
) -> Response:
    """The list: favourites and what runs often, then the others by summary.

    Arguments:
        schedule: its links lead to scheduling.
    """
    words, chosen = clean(q), [clean(each) for each in tag or ()]
    link = partial(_link, words, schedule)
    first = await first_of(panel, user)
    ahead: list[RegisteredEndpoint] = []
    if after is None and first.uids:
        ahead = await panel.register.endpoints(
            query=words, tags=chosen, uids=first.uids, limit=len(first.uids)
        )
        ahead.sort(key=lambda row: first.uids.index(row.uid))
    rows = await panel.register.endpoints(
        query=words, tags=chosen, without=first.uids, after=after, limit=ROWS + 1
    )
    counted = await panel.register.tags()
    tags = [
        {
            "name": name,
            "count": count,
            "chosen": name in chosen,
            "link": link(_toggled(chosen, name)),
        }
        for name, count in sorted(
            (dict.fromkeys(chosen, 0) | counted).items(),
            key=lambda entry: entry[0] not in chosen,
        )
    ]
    here = rows[:ROWS]
    context = {
        "cards": await cards(panel, user, ahead + here, first),
        "query": words,
        "chosen": chosen,
        "tags": tags[:TAGS],
        "more_tags": tags[TAGS:],
        "after": after,
        "first": link(chosen),
        "next": link(chosen, here[-1].uid) if len(rows) > ROWS else None,
        "scheduling": schedule,
    }
    return page(request, "services.html", context)


@router.post("/services/{uid}/favourite")
async def favourite(
    request: Request,
    panel: Panel,
    user: CurrentUser,
    uid: Annotated[str, Path(pattern="^[0-9a-f]{32}$")],
    do: Annotated[Literal["add", "remove"], Form()],
) -> Response:
    """Put a service first in one's own list, or back."""
    row = await panel.register.of_uid(uid)
    if row is None:
        raise NotFoundError(f"there is no service {uid} here, or its source no longer lists it")
    query = "add_favourite" if do == "add" else "remove_favourite"
    await panel.reader.execute(query, owner=user.id, uid=uid)
    if "hx-request" in request.headers:
        return page(request, "_star.html", {"card": asdict(row) | {"favourite": do == "add"}})
    return RedirectResponse(f"{request.scope.get('root_path', '').rstrip('/')}/services", 303)


def _toggled(chosen: list[str], tag: str) -> list[str]:
    return [each for each in chosen if each != tag] if tag in chosen else [*chosen, tag]


def _link(query: str, schedule: bool, tags: list[str], after: str | None = None) -> str:
    """The list with these filters, below the panel's root."""
    pairs = [("q", query)] if query else []
    pairs += [("tag", tag) for tag in tags]
    pairs += [("after", after)] if after else []
    pairs += [("schedule", "true")] if schedule else []
    return "services" + (f"?{urlencode(pairs)}" if pairs else "")
