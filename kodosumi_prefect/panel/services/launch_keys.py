"""Launches that are asked for with a key: what is asked for again is launched once.

The key is claimed in Postgres before anything is launched, together with a random id of the launch.
Services and Prefect are given that id, and of one id Prefect makes one run: so it does not matter
where a launch, its answer or the panel itself is lost.
"""

import asyncio
import hmac
import json
import logging
import re
from collections import Counter
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from typing import Any, NamedTuple

import psycopg
from cryptography.fernet import InvalidToken

from kodosumi_prefect.cancelling import cancel_all
from kodosumi_prefect.database.rows.launch_keys import ClaimedLaunch, KeyedLaunch
from kodosumi_prefect.http.statuses import status_of
from kodosumi_prefect.keys import panel_keys
from kodosumi_prefect.launch.refusal import LaunchError
from kodosumi_prefect.launch.starting import new_id, run_of_launch
from kodosumi_prefect.panel.services.forwarding import (
    BusyServicesError,
    CrashedServiceError,
    LateServiceError,
    ServiceError,
    UnreachedServiceError,
)
from kodosumi_prefect.panel.services.launch_answer import LaunchAnswer
from kodosumi_prefect.refusals import ConflictError, InvalidError, RefusedError, TooManyError
from kodosumi_prefect.settings import Settings
from kodosumi_prefect.stream.reader import Reader
from kodosumi_prefect.vocabulary import IDEMPOTENCY_HEADER

LONGEST_KEY = 255  # characters
CLAIMED = 15.0  # seconds after which the launch of a panel that is gone may be taken over
RENEWED = 4.0  # seconds between the words of a panel that is still at it
PATIENCE = 20.0  # seconds that a repeat waits for the first; clients give up after 30
LOOK = 0.25  # seconds between its looks
COME_BACK = 2.0  # seconds after which it may be asked again
WAITING = 100  # repeats of one account that wait at once
_KEY = re.compile(r"[\x21-\x7e](?:[\x20-\x7e]*[\x21-\x7e])?")

logger = logging.getLogger(__name__)

Launching = Callable[[str], Awaitable[LaunchAnswer]]  # with the launch's id


class AskedLaunch(NamedTuple):
    """What is asked for.

    Attributes:
        owner: id of the account.
        endpoint: uid of the endpoint, or what else says what is launched.
        key: chosen by who asks; it means nothing to other owners and endpoints.
        bodies: ``LaunchKeys.digests`` of what was posted.
    """

    owner: str
    endpoint: str
    key: str
    bodies: list[bytes]


class Launched(NamedTuple):
    """An answer; ``repeated``: an earlier request got it, or should have."""

    answer: LaunchAnswer
    repeated: bool


async def _heeds() -> bool:
    return True


class LaunchKeys:
    """The launches with keys.

    Arguments:
        reader: whose connections are used.
    """

    def __init__(self, settings: Settings, reader: Reader) -> None:
        self._settings = settings
        self._reader = reader
        keys = panel_keys(settings)
        self._secrets, self._box = keys.launches, keys.answers
        self._waiting: Counter[str] = Counter()  # by account

    def digests(self, *posted: Any) -> list[bytes]:
        """What of JSON values is stored, to compare them by; nobody finds a password by it.

        The first one is, and the others may have been while another secret was in force.
        """
        text = json.dumps(posted, sort_keys=True).encode()
        return [hmac.digest(secret, text, "sha256") for secret in self._secrets]

    async def once(
        self, asked: AskedLaunch, launch: Launching, heeds: Callable[[], Awaitable[bool]] = _heeds
    ) -> Launched:
        """Launch, or answer what was answered when this was asked for before.

        A launch that was refused, or could not begin, leaves its key free.

        Arguments:
            launch: does it; asked again with the same id, it launches nothing more.
            heeds: whether that is so; asked if an earlier attempt was lost.

        Raises:
            InvalidError: the key is that of a launch with another body.
            ConflictError: the first one is under way for longer than this waits, or it is not known
                whether it has begun and ``launch`` does not heed the id.
            RefusedError: as ``launch``.
            psycopg.OperationalError: Postgres is away; nothing was launched.
        """
        claim = await self._claimed(asked)
        if isinstance(claim, Launched):
            return claim
        if claim.attempts > 1 and (answer := await self._begun(claim)) is not None:
            await self._keep(claim, answer)
            return Launched(answer, False)  # nobody has heard of it so far
        if claim.lost:
            await self._require_heeding(claim, heeds)
        async with self._renewed(claim):
            try:
                answer = await launch(claim.launch_id)
            except LateServiceError as late:
                answer = await self._late(claim, late)
            except Exception as exc:
                await self._failed(claim, exc)
                raise
        if answer.has_launched:
            await self._keep(claim, answer)
        elif answer.status < 500:
            await self._free(claim)
        else:
            await self._release(claim, lost=False)
        return Launched(answer, False)

    async def _claimed(self, asked: AskedLaunch) -> ClaimedLaunch | Launched:
        """The launch, now ours to do; or its answer."""
        names = asked._asdict() | {"body": asked.bodies[0], "claimed": CLAIMED}
        age = self._settings.launch_key_hours * 3600
        await self._reader.execute("forget_launch_keys", age=age)
        deadline = asyncio.get_running_loop().time() + PATIENCE
        while True:
            claims = await self._reader.rows_of(
                ClaimedLaunch, "claim_launch", **names, launch_id=new_id()
            )
            if claims:
                return claims[0]
            rows = await self._reader.rows_of(KeyedLaunch, "keyed_launch", **asked._asdict())
            if not rows:
                continue  # it came to nothing meanwhile
            [known] = rows
            if not known.same:
                await self._require_nothing(known)
            elif known.answer is not None:
                return Launched(self._read(known.answer), True)
            elif asyncio.get_running_loop().time() >= deadline:
                raise ConflictError(
                    f"the launch with this {IDEMPOTENCY_HEADER} is still under way; ask again",
                    retry_after=COME_BACK,
                )
            else:
                await self._wait(asked.owner)

    async def _wait(self, owner: str) -> None:
        if self._waiting[owner] >= WAITING:
            raise TooManyError(
                f"{WAITING} requests of this account wait for launches; ask again",
                retry_after=COME_BACK,
            )
        self._waiting[owner] += 1
        try:
            await asyncio.sleep(LOOK)
        finally:
            self._waiting[owner] -= 1
            if not self._waiting[owner]:
                del self._waiting[owner]

    async def _require_nothing(self, known: KeyedLaunch) -> None:
        """Free the key of a launch with another body, if that came to nothing.

        Raises:
            InvalidError: it did not, or may not have.
        """
        if known.answer is None and not known.under_way:
            fid = await run_of_launch(known.launch_id, self._settings)
            if fid is not None:
                await self._keep(known, LaunchAnswer.of_run(fid))
            elif not known.lost:
                await self._settle("free_launch", known)
                return
            else:
                raise InvalidError(
                    f"this {IDEMPOTENCY_HEADER} is that of a launch with another body, which may "
                    "have begun without an answer; look among the executions, and use another key"
                )
        raise InvalidError(
            f"this {IDEMPOTENCY_HEADER} is that of a launch with another body; use another key"
        )

    async def _begun(self, claim: ClaimedLaunch) -> LaunchAnswer | None:
        """The answer of a launch that an earlier attempt has begun."""
        try:
            fid = await run_of_launch(claim.launch_id, self._settings)
        except LaunchError:  # whoever launches will say so
            return None
        return None if fid is None else LaunchAnswer.of_run(fid)

    async def _late(self, claim: ClaimedLaunch, late: LateServiceError) -> LaunchAnswer:
        """The answer of a launch that began although nobody said so in time.

        Raises:
            LateServiceError: it has not begun so far.
        """
        begun = await answer_of(claim.launch_id, late, self._settings)
        if isinstance(begun, LaunchAnswer):
            return begun
        await self._release(claim, lost=True)
        raise LateServiceError(f"{begun.detail}; asked again as it is, it begins once") from late

    async def _require_heeding(
        self, claim: ClaimedLaunch, heeds: Callable[[], Awaitable[bool]]
    ) -> None:
        try:
            if await heeds():
                return
        except Exception:
            await self._release(claim, lost=True)
            raise
        await self._release(claim, lost=True)
        raise ConflictError(
            f"the answer to the launch with this {IDEMPOTENCY_HEADER} was lost, and its service "
            "cannot tell whether it has begun; look among the executions, and use another key"
        )

    async def _failed(self, claim: ClaimedLaunch, exc: Exception) -> None:
        nothing = isinstance(exc, UnreachedServiceError | BusyServicesError)
        if isinstance(exc, RefusedError):
            nothing = nothing or status_of(exc) < 500
        if nothing:
            await self._free(claim)
        else:
            lost = isinstance(exc, ServiceError) and not isinstance(exc, CrashedServiceError)
            await self._release(claim, lost=lost)

    @asynccontextmanager
    async def _renewed(self, claim: ClaimedLaunch) -> AsyncIterator[None]:
        """Say again and again that this panel is at it."""

        async def renewing() -> None:
            while True:
                await asyncio.sleep(RENEWED)
                await self._settle("renew_launch", claim, claimed=CLAIMED)

        task = asyncio.create_task(renewing(), name="claim of a launch")
        try:
            yield
        finally:
            await cancel_all([task])

    async def _keep(self, claim: ClaimedLaunch, answer: LaunchAnswer) -> None:
        sealed = self._box.encrypt(answer.kept().as_json().encode())
        await self._settle("keep_launch", claim, answer=sealed)

    def _read(self, answer: bytes) -> LaunchAnswer:
        try:
            return LaunchAnswer.of_json(self._box.decrypt(answer).decode())
        except InvalidToken:
            raise ConflictError(
                "the panel's secret_key is another one than at this launch, so its answer cannot "
                "be read; look among the executions"
            ) from None

    async def _free(self, claim: ClaimedLaunch) -> None:
        """This attempt launched nothing; of earlier ones, that is not certain."""
        if claim.attempts == 1:
            await self._settle("free_launch", claim)
        else:
            await self._release(claim, lost=False)

    async def _release(self, claim: ClaimedLaunch, *, lost: bool) -> None:
        await self._settle("release_launch", claim, lost=lost)

    async def _settle(self, query: str, claim: ClaimedLaunch, **more: Any) -> None:
        """Note how it went. Without Postgres the claim runs out, and Prefect tells what began."""
        ids = {"launch_id": claim.launch_id, "attempts": claim.attempts}
        try:
            await self._reader.execute(query, **ids, **more)
        except psycopg.OperationalError as exc:
            reason = " ".join(str(exc).split())
            logger.warning("launch %s: %s is not noted: %s", claim.launch_id, query, reason)


async def answer_of(
    launch_id: str, late: LateServiceError, settings: Settings
) -> LaunchAnswer | LateServiceError:
    """The answer of the run that came of a launch; without one, what to say of it.

    Arguments:
        launch_id: as the service was given it.
        late: the service does not answer.
    """
    try:
        fid = await run_of_launch(launch_id, settings)
    except LaunchError as exc:
        return LateServiceError(f"{late.detail}, and whether its run exists is not known: {exc}")
    if fid is not None:
        return LaunchAnswer.of_run(fid)
    return LateServiceError(f"{late.detail}; no run of it exists so far, and it may still begin")


def checked_key(keys: list[str]) -> str | None:
    """The key of a request.

    Arguments:
        keys: all values of its header.

    Raises:
        InvalidError: there are several, or it is not usable.
    """
    if not keys:
        return None
    if len(keys) > 1 or len(keys[0]) > LONGEST_KEY or not _KEY.fullmatch(keys[0]):
        raise InvalidError(
            f"{IDEMPOTENCY_HEADER} takes one key of 1 to {LONGEST_KEY} printable ASCII characters, "
            "such as a UUID"
        )
    return keys[0]
