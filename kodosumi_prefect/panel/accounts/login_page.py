"""The page to sign in at."""

from fastapi import Request
from fastapi.responses import HTMLResponse

from kodosumi_prefect.panel.accounts.cookies import local_path
from kodosumi_prefect.panel.web.templating import page


def login_page(request: Request, redirect: str, problem: str = "", name: str = "") -> HTMLResponse:
    """The page, with what was wrong the last time.

    Arguments:
        redirect: where to go then, if it is a path of the panel.
        name: to be filled in.
    """
    target = local_path(redirect) or f"{request.scope.get('root_path', '')}/"
    return page(request, "login.html", {"redirect": target, "problem": problem, "name": name})
