"""The desk of whoever sent a request."""

from fastapi import Request

from kodosumi_prefect.panel.accounts.permissions import User
from kodosumi_prefect.panel.locks.actions import Desk
from kodosumi_prefect.panel.services.calls import own_url
from kodosumi_prefect.panel.web.state import State


def desk_of(request: Request, panel: State, user: User, link: str | None = None) -> Desk:
    """Where ``user``, who sent this, answers locks; ``link`` as for ``Desk``."""
    means = getattr(request.state, "means", None)
    return Desk(panel, user, own_url(request, panel.settings), means, link)
