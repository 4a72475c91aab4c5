"""A page to launch or schedule one endpoint."""

from dataclasses import asdict
from typing import Annotated, Any
from urllib.parse import urlencode
from uuid import UUID

from fastapi import APIRouter, Path, Query, Request
from fastapi.responses import RedirectResponse, Response
from markupsafe import Markup

from kodosumi_prefect.database.rows.services import LastOfEndpoint, RegisteredEndpoint
from kodosumi_prefect.files.names import Direction
from kodosumi_prefect.http.statuses import status_of
from kodosumi_prefect.launch.starting import new_id
from kodosumi_prefect.panel.accounts.permissions import CurrentUser, User
from kodosumi_prefect.panel.audit.entry import Target
from kodosumi_prefect.panel.audit.recorded_actions import Action, Outcome
from kodosumi_prefect.panel.audit.recording import journal, record
from kodosumi_prefect.panel.executions.actions import wait_for_execution
from kodosumi_prefect.panel.executions.rows import title
from kodosumi_prefect.panel.executions.run_again import filled, filled_files
from kodosumi_prefect.panel.files.actions import listed
from kodosumi_prefect.panel.files.posted_form import read_form
from kodosumi_prefect.panel.html.forms import form_html, own_names, takes_files
from kodosumi_prefect.panel.html.markdown import markdown
from kodosumi_prefect.panel.schedules.preview import (
    AGAIN_OF,
    KEY,
    OFTEN,
    PREFIX,
    WEEKDAYS,
    Typed,
    moments,
    zones,
)
from kodosumi_prefect.panel.schedules.view import SAVED
from kodosumi_prefect.panel.services.again_files import with_copies
from kodosumi_prefect.panel.services.calls import own_url
from kodosumi_prefect.panel.services.cards import source, use_of
from kodosumi_prefect.panel.services.endpoint_form import Elements, EndpointForm, Submitted
from kodosumi_prefect.panel.services.launch_keys import checked_key
from kodosumi_prefect.panel.services.register.openapi import has_text
from kodosumi_prefect.panel.web.kodosumi_pages import redirect
from kodosumi_prefect.panel.web.parameters import Panel
from kodosumi_prefect.panel.web.state import State
from kodosumi_prefect.panel.web.templating import page
from kodosumi_prefect.refusals import NotFoundError, RefusedError
from kodosumi_prefect.spans.amounts import taken, taken_exactly
from kodosumi_prefect.stream.rows import StoredExecution

Uid = Annotated[str, Path(pattern="^[0-9a-f]{32}$")]
Row = dict[str, Any]

router = APIRouter(include_in_schema=False)


@router.get("/services/preview")
async def preview(request: Request, user: CurrentUser) -> Response:
    """When something would fire that is typed: in words, and its next times; or what is wrong."""
    return page(request, "_moments.html", await _preview(Typed.of(request.query_params)))


@router.get("/services/{uid}")
async def endpoint(
    request: Request,
    panel: Panel,
    user: CurrentUser,
    uid: Uid,
    origin: Annotated[UUID | None, Query(alias="from")] = None,
    schedule: bool = False,
) -> Response:
    """A page to launch one, filled in as the execution ``from`` was; or to ``schedule`` it."""
    row = await _endpoint(panel, uid)
    earlier = None
    if origin is not None:
        earlier = await wait_for_execution(panel, origin, user.sees(panel.settings))
    values, trouble, elements = None, None, None
    try:
        elements = await _form(request, panel, user, row).elements()
    except RefusedError as exc:
        trouble = exc.detail
    if earlier is not None and elements is not None:
        paths = [
            file.path.partition("/")[2] for file in await listed(panel, earlier.fid, Direction.IN)
        ]
        files = filled_files(elements, earlier.inputs, earlier.fid, paths)
        values = filled(elements, earlier.inputs) | files or None
    return await _page(
        request,
        panel,
        user,
        row,
        elements,
        values=values,
        trouble=trouble,
        earlier=_earlier(earlier, values),
        opened=schedule,
    )


@router.post("/services/{uid}")
async def launch(request: Request, panel: Panel, user: CurrentUser, uid: Uid) -> Response:
    """Launch it now; leads to the execution."""
    return await _submit(request, panel, user, uid, scheduled=False)


@router.post("/services/{uid}/schedule")
async def schedule(request: Request, panel: Panel, user: CurrentUser, uid: Uid) -> Response:
    """Schedule it; leads to the schedules."""
    return await _submit(request, panel, user, uid, scheduled=True)


@router.get("/inputs/-/{address:path}")
async def kodosumi_endpoint(
    request: Request, panel: Panel, user: CurrentUser, address: str
) -> Response:
    """Kodosumi's address of the page to launch an endpoint."""
    row = await _at(panel, address)
    return redirect(request, f"services/{row.uid}")


@router.post("/inputs/-/{address:path}")
async def kodosumi_launch(
    request: Request, panel: Panel, user: CurrentUser, address: str
) -> Response:
    """Launch what Kodosumi has at this address; leads to the execution."""
    row = await _at(panel, address)
    return await _submit(request, panel, user, row.uid, scheduled=False, status_code=302)


async def _at(panel: State, address: str) -> RegisteredEndpoint:
    row = await panel.register.endpoint(f"/-/{address}")
    if row is None:
        raise NotFoundError(f"/-/{address[:200]} is not a registered endpoint; see GET /flow")
    return await _endpoint(panel, row.uid)


async def _submit(
    request: Request,
    panel: State,
    user: User,
    uid: str,
    *,
    scheduled: bool,
    status_code: int = 303,
) -> Response:
    row = await _endpoint(panel, uid)
    body, not_taken = await read_form(request, panel, user, KEY)
    posted = own_names({name: value for name, value in body.items() if not name.startswith(PREFIX)})
    typed = Typed.of({name: value for name, value in body.items() if name.startswith(PREFIX)})
    form = _form(request, panel, user, row)
    action = Action.SCHEDULE_CREATE if scheduled else Action.LAUNCH
    entry = record(request, action, Target("endpoint", row.url))
    try:
        if scheduled:
            await moments(typed)  # its errors are shown before the service is asked
        key = checked_key([str(body[KEY])]) if body.get(KEY) else None
        if not_taken:
            done = Submitted(errors=not_taken, elements=await form.elements())
        else:
            sent = await with_copies(panel, user, posted, key or new_id())
            done = await form.submit(sent, typed.as_json() if scheduled else None, key)
    except RefusedError as exc:
        entry.outcome = Outcome.of_status(status_of(exc))
        return await _refused(request, panel, user, row, posted, typed, exc.detail, scheduled)
    if done.errors is not None:
        return await _corrected(request, panel, user, row, posted, typed, done, scheduled)
    what = ("schedule", done.schedule) if done.fid is None else ("execution", done.fid)
    entry.target = Target(*what, name=row.url)
    if done.repeated:
        journal(request).has_nothing()
    elif done.fid is not None and body.get(AGAIN_OF):
        entry.action = Action.RUN_AGAIN
        await _lead_to_each_other(panel, user, str(body[AGAIN_OF]), done.fid)
    where = (
        f"schedules?{urlencode({SAVED: done.schedule})}"
        if done.fid is None
        else f"executions/{done.fid}"
    )
    to = request.scope.get("root_path", "").rstrip("/") + f"/{where}"
    if _by_htmx(request):
        return Response(headers={"HX-Redirect": to})
    return RedirectResponse(to, status_code)


async def _lead_to_each_other(panel: State, user: User, earlier: str, fid: str) -> None:
    """Link the new execution with the one whose inputs filled its form."""
    try:
        execution = await panel.reader.status(str(UUID(earlier)), user.sees(panel.settings))
    except ValueError:
        return  # somebody's own making; the launch itself is right
    if execution is not None:
        await panel.reader.execute("set_again", fid=fid, of=execution.fid)


async def _refused(
    request: Request,
    panel: State,
    user: User,
    row: RegisteredEndpoint,
    posted: Row,
    typed: Typed,
    why: str,
    scheduled: bool,
) -> Response:
    """One line of what is wrong; the form stays as it is."""
    if _by_htmx(request):
        answer = page(request, "_trouble.html", {"why": why}, status_code=422)
        answer.headers["HX-Retarget"] = "#schedule-trouble" if scheduled else "#trouble"
        answer.headers["HX-Reswap"] = "innerHTML"
        return answer
    try:
        elements = await _form(request, panel, user, row).elements()
    except RefusedError:
        elements = None
    return await _page(
        request,
        panel,
        user,
        row,
        elements,
        values=posted,
        typed=typed,
        trouble=None if scheduled and elements is not None else why,
        schedule_trouble=why if scheduled else None,
        status_code=422,
    )


async def _corrected(
    request: Request,
    panel: State,
    user: User,
    row: RegisteredEndpoint,
    posted: Row,
    typed: Typed,
    done: Submitted,
    scheduled: bool,
) -> Response:
    """The form once more, with what is wrong at its fields."""
    if _by_htmx(request):
        html = form_html(
            done.elements, done.errors, posted, submit="Run now", leave=_leave(request)
        )
        return Response(html, 422, media_type="text/html")
    return await _page(
        request,
        panel,
        user,
        row,
        done.elements,
        errors=done.errors,
        values=posted,
        typed=typed,
        opened=scheduled,
        status_code=422,
    )


async def _page(
    request: Request,
    panel: State,
    user: User,
    row: RegisteredEndpoint,
    elements: Elements | None,
    *,
    values: Row | None = None,
    errors: dict[str, list[str]] | None = None,
    typed: Typed | None = None,
    trouble: str | None = None,
    schedule_trouble: str | None = None,
    earlier: Row | None = None,
    opened: bool = False,
    status_code: int = 200,
) -> Response:
    form = None
    if elements is not None:
        form = form_html(elements, errors, values, submit="Run now", leave=_leave(request))
    visible = user.sees(panel.settings)
    last = await panel.reader.rows_of(
        LastOfEndpoint, "last_of_endpoints", uids=[row.uid], **visible._asdict()
    )
    fields = typed or Typed()
    context = {
        "row": asdict(row) | source(row),
        "about": Markup(markdown(row.description)) if has_text(row.description) else None,
        "form": form,
        "multipart": takes_files(elements or ()),
        "last": last[0] if last else None,
        "last_took": taken(*use_of(last[0])) if last else None,
        "last_took_exactly": taken_exactly(*use_of(last[0])) if last else None,
        "typed": fields,
        "open": opened or schedule_trouble is not None,
        "own_zone": typed is None,
        "often": OFTEN,
        "weekdays": WEEKDAYS,
        "zones": zones(),
        "prefix": PREFIX,
        "trouble": trouble,
        "schedule_trouble": schedule_trouble,
        "earlier": earlier,
        "again_of": AGAIN_OF,
        "key": {"name": KEY, "value": new_id()},
    }
    context |= await _preview(fields)
    return page(request, "service.html", context, status_code=status_code)


async def _preview(typed: Typed) -> Row:
    """What the preview shows of what is typed."""
    try:
        return {"moments": await moments(typed), "wrong": None}
    except RefusedError as exc:
        return {"moments": None, "wrong": exc.detail}


def _earlier(execution: StoredExecution | None, values: Row | None) -> Row | None:
    """What the page shows about the execution that a form is filled in from."""
    if execution is None:
        return None
    return {"fid": execution.fid, "title": title(execution), "fits": values is not None}


async def _endpoint(panel: State, uid: str) -> RegisteredEndpoint:
    row = await panel.register.of_uid(uid)
    if row is None:
        raise NotFoundError(f"there is no service {uid} here, or its source no longer lists it")
    return row


def _form(request: Request, panel: State, user: User, row: RegisteredEndpoint) -> EndpointForm:
    return EndpointForm(panel, row, user, own_url(request, panel.settings))


def _leave(request: Request) -> str:
    """Where a form's button to leave it leads."""
    return f"{request.scope.get('root_path', '').rstrip('/')}/services"


def _by_htmx(request: Request) -> bool:
    return request.headers.get("hx-request") == "true"
