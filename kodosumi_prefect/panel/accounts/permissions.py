"""Who sent a request, and what they may see and do."""

from dataclasses import dataclass
from typing import Annotated

from fastapi import Depends, Request, Security
from fastapi.security import APIKeyCookie, APIKeyHeader

from kodosumi_prefect.refusals import ForbiddenError, UnidentifiedError
from kodosumi_prefect.settings import Settings
from kodosumi_prefect.stream.reader import EVERYTHING, Visible
from kodosumi_prefect.vocabulary import API_KEY_HEADER, SESSION_COOKIE

# The gate has looked at both before any handler runs; these put them into the OpenAPI document.
_header = APIKeyHeader(
    name=API_KEY_HEADER,
    auto_error=False,
    description="A named API key, or the token that a login answers.",
)
_cookie = APIKeyCookie(name=SESSION_COOKIE, auto_error=False, description="What a login sets.")


@dataclass(frozen=True, slots=True)
class User:
    """An account that is signed in.

    Attributes:
        id: of its row in ``role``; what ``execution.owner`` holds.
        name: what it signs in with.
        operator: may see and do everything.
    """

    id: str
    name: str
    operator: bool = False

    @property
    def limited_to(self) -> str | None:
        """Whose locks and schedules this account may see and change; None for everybody's."""
        return None if self.operator else self.id

    def sees(self, settings: Settings) -> Visible:
        """Which executions this account may see; hand it to ``Reader``."""
        if self.operator:
            return EVERYTHING
        return Visible(self.id, settings.unowned == "all")

    def owns(self, owner: str | None) -> bool:
        """Whether this account may change what belongs to ``owner``; only operators if nobody."""
        return self.operator or owner == self.id


# Async, since FastAPI calls other dependencies in a thread, which costs more than they do.
async def current_user(
    request: Request,
    _key: Annotated[str | None, Security(_header)] = None,
    _session: Annotated[str | None, Security(_cookie)] = None,
) -> User:
    """Who sent this request.

    Raises:
        UnidentifiedError: nobody is signed in.
    """
    user = getattr(request.state, "user", None)
    if not isinstance(user, User):
        raise UnidentifiedError("sign in first")
    return user


async def operator(user: "CurrentUser") -> User:
    """As ``current_user``, operators only.

    Raises:
        ForbiddenError: it is not one.
    """
    if not user.operator:
        raise ForbiddenError("only operators may do this")
    return user


def by_key(request: Request) -> bool:
    """Whether who sent this is known by an API key."""
    return getattr(request.state, "means", None) == "key"


async def in_person(request: Request, user: "CurrentUser") -> User:
    """As ``current_user``, but nobody who only has an API key.

    Keys are kept in files and variables of programs. Whoever finds one must not be able to make
    accounts with it or take them over, and so stay after it is revoked.

    Raises:
        ForbiddenError: an API key was sent.
    """
    if by_key(request):
        raise ForbiddenError("an API key may not change accounts; sign in to do this")
    return user


async def operator_in_person(user: "InPerson") -> User:
    """As ``in_person``, operators only.

    Raises:
        ForbiddenError: it is not one.
    """
    return await operator(user)


CurrentUser = Annotated[User, Depends(current_user)]
Operator = Annotated[User, Depends(operator)]
InPerson = Annotated[User, Depends(in_person)]
OperatorInPerson = Annotated[User, Depends(operator_in_person)]
