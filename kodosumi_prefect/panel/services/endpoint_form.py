"""The form of an endpoint of any kind, and the launch of a filled-in one."""

import asyncio
from collections.abc import Sequence
from typing import Any, NamedTuple
from uuid import UUID

import orjson

from kodosumi_prefect.database.rows.services import RegisteredEndpoint
from kodosumi_prefect.launch.starting import new_id
from kodosumi_prefect.panel.accounts.permissions import User
from kodosumi_prefect.panel.services import deployment_form
from kodosumi_prefect.panel.services.calls import Answered
from kodosumi_prefect.panel.services.forwarding import BrokenServiceError, LateServiceError
from kodosumi_prefect.panel.services.launch_answer import LaunchAnswer
from kodosumi_prefect.panel.services.launch_keys import AskedLaunch
from kodosumi_prefect.panel.web.state import State
from kodosumi_prefect.refusals import ConflictError, InvalidError, RefusedError

FORM_ANSWER_SECONDS = 10.0  # seconds for a form; a page waits for it
# Of what was asked, by the status of a service's answer; its words stand for themselves.
REFUSALS: dict[int, type[RefusedError]] = {409: ConflictError, 422: InvalidError}

Row = dict[str, Any]
Elements = Sequence[dict[str, Any]]


class Submitted(NamedTuple):
    """The result of a filled-in form.

    Attributes:
        fid: of the run that began.
        schedule: id of the schedule that was made.
        errors: messages by field; neither run nor schedule came of it.
        repeated: it was submitted before; this is what came of that.
    """

    fid: str | None = None
    schedule: str | None = None
    errors: dict[str, list[str]] | None = None
    elements: Elements = ()
    repeated: bool = False


class EndpointForm:
    """An endpoint's form for somebody.

    Arguments:
        endpoint: of the register.
        user: who looks and fills it in.
        panel_url: where they reach this panel.
    """

    def __init__(
        self, panel: State, endpoint: RegisteredEndpoint, user: User, panel_url: str
    ) -> None:
        self._panel = panel
        self._endpoint = endpoint
        self._user = user
        self._url = panel_url

    async def elements(self) -> Elements:
        """The elements of the form.

        Raises:
            RefusedError: it is gone, or its service or Prefect does not answer as it should, in one
                line.
        """
        patience = min(FORM_ANSWER_SECONDS, self._panel.settings.service_timeout)
        if self._endpoint.kind == "prefect":
            async with _Patience(patience, "Prefect"):
                answer = await deployment_form.describe(self._endpoint, self._panel.settings)
        else:
            answered = await self._ask("GET", None, None, patience)
            answer = _read(answered.status, answered.body, self._name)
        return self._elements(answer)

    async def submit(
        self, posted: Row, schedule: str | None = None, key: str | None = None
    ) -> Submitted:
        """Launch with what was posted, or schedule it.

        Arguments:
            schedule: when, as JSON; see ``serve.when``.
            key: of the form as it was shown; submitted again as it stands, it is one launch.

        Raises:
            RefusedError: as ``elements``, or what the service refuses.
        """
        keys = self._panel.launch_keys
        digests = keys.digests("form", schedule, posted)
        # Whoever changes what they typed wants something else launched.
        name = f"form {key or new_id()} {digests[0].hex()}"
        asked = AskedLaunch(self._user.id, self._endpoint.uid, name, digests)
        if self._endpoint.kind == "prefect":
            done = await keys.once(asked, lambda id_: self._of_deployment(posted, schedule, id_))
        else:
            done = await keys.once(
                asked, lambda id_: self._of_service(posted, schedule, id_), self._heeds
            )
        answer = _read(done.answer.status, done.answer.content, self._name)
        return self._submitted(answer, schedule)._replace(repeated=done.repeated)

    async def _of_deployment(
        self, posted: Row, schedule: str | None, launch_id: str
    ) -> LaunchAnswer:
        return LaunchAnswer.of_fields(
            await deployment_form.launch(
                self._endpoint, posted, schedule, self._user, self._panel.settings, launch_id
            )
        )

    async def _of_service(self, posted: Row, schedule: str | None, launch_id: str) -> LaunchAnswer:
        patience = self._panel.settings.service_timeout
        return LaunchAnswer.of_service(
            await self._ask("POST", posted, schedule, patience, launch_id)
        )

    async def _heeds(self) -> bool:
        return await self._panel.services.heeds_launch_ids(self._endpoint, self._user, self._url)

    def _submitted(self, answer: Any, schedule: str | None) -> Submitted:
        if isinstance(answer, dict):
            if errors := answer.get("errors"):
                return Submitted(errors=_errors(errors), elements=self._elements(answer))
            if schedule is not None and isinstance(answer.get("schedule"), str):
                return Submitted(schedule=answer["schedule"])
            if schedule is None and (fid := _fid(answer.get("result"))) is not None:
                return Submitted(fid=fid)
        expected = "schedule" if schedule is not None else "result"
        raise BrokenServiceError(f"{self._name} answered neither {expected} nor errors")

    @property
    def _name(self) -> str:
        return f"service {self._endpoint.base_url}"

    async def _ask(
        self,
        method: str,
        body: Any,
        schedule: str | None,
        patience: float,
        launch_id: str | None = None,
    ) -> Answered:
        services = self._panel.services
        async with _Patience(patience, self._name):
            return await services.ask_endpoint(
                self._endpoint, method, body, self._user, self._url, schedule, launch_id
            )

    def _elements(self, answer: Any) -> Elements:
        elements = answer.get("elements") if isinstance(answer, dict) else None
        if not isinstance(elements, list) or not all(isinstance(each, dict) for each in elements):
            raise BrokenServiceError(f"{self._name} answered no form")
        return elements


class _Patience:
    """Gives up on what takes longer, even if it still sends."""

    def __init__(self, seconds: float, name: str) -> None:
        self._limit = asyncio.timeout(seconds)
        self._why = f"{name} does not answer in time ({seconds:g} s)"

    async def __aenter__(self) -> None:
        await self._limit.__aenter__()

    async def __aexit__(self, *exc: Any) -> None:
        try:
            await self._limit.__aexit__(*exc)
        except TimeoutError as late:
            raise LateServiceError(self._why) from late


def _read(status: int, content: bytes, name: str) -> Any:
    """The JSON that a service answered."""
    try:
        body = orjson.loads(content)
    except ValueError:
        body = None
    if status == 200 and body is not None:
        return body
    detail = body.get("detail") if isinstance(body, dict) else None
    if status in REFUSALS and isinstance(detail, str):
        raise REFUSALS[status](detail)
    raise BrokenServiceError(f"{name} answered {status}" + (f": {detail}" if detail else ""))


def _errors(errors: Any) -> dict[str, list[str]]:
    """Messages by field, whatever shape a service gave them."""
    if not isinstance(errors, dict):
        return {"_global_": [str(errors)]}
    return {
        str(name): [str(one) for one in (messages if isinstance(messages, list) else [messages])]
        for name, messages in errors.items()
        if messages
    }


def _fid(result: Any) -> str | None:
    try:
        return str(UUID(result))
    except (ValueError, TypeError, AttributeError):
        return None
