"""A question of a run as pages show it: what it is about, and its form."""

import json
from typing import Any

from markupsafe import Markup

from kodosumi_prefect.database.rows.locks import LockQuestion
from kodosumi_prefect.panel.executions.rows import first_name
from kodosumi_prefect.panel.html.forms import Messages, form_html, takes_files
from kodosumi_prefect.panel.html.markdown import markdown
from kodosumi_prefect.panel.html.questions import data_html

_DISPLAYS = ("markdown", "html")  # elements of a form that only say something


def card(
    lock: LockQuestion, root: str, *, eager: bool = False, here: bool = False
) -> dict[str, Any]:
    """What templates need of a lock; ``form`` is None if its service has to be asked for it.

    Arguments:
        root: where the panel's pages begin, with a slash at its end.
        eager: the page asks for a service's form by itself.
        here: it stands on the page of its run.
    """
    form: dict[str, Any] = {"form": None}
    elements: list[dict[str, Any]] = []
    if lock.elements is not None:
        elements = json.loads(lock.elements)
        form = form_of(lock, root, elements, here=here)
    elif lock.app_url is None:
        form = form_of(lock, root, [], here=here)
    data = json.loads(lock.data) if lock.data else None
    return {
        "fid": lock.fid,
        "lid": lock.lid,
        "name": lock.heading,
        "question": Markup(markdown(lock.question)) if lock.question else None,
        "title": first_name(lock.summary, lock.flow_name, lock.fid),
        "opened": lock.opened,
        "expires": lock.expires,
        # A form that says itself what it is about needs no second copy.
        "data": None if says(elements, data) else Markup(data_html(data)),
        # Services get it for their form, so that most say it there.
        "folded": form["form"] is None,
        "eager": eager,
        "here": here,
        **form,
    }


def form_of(
    lock: LockQuestion,
    root: str,
    elements: list[dict[str, Any]],
    errors: Messages | None = None,
    values: dict[str, Any] | None = None,
    *,
    here: bool = False,
) -> dict[str, Any]:
    """The fields of a lock's form, as templates need them: ``form``, ``multipart``."""
    html = form_html(
        elements,
        errors,
        values,
        submit="Answer" if elements else "Go on",
        leave=f"{root}executions/{lock.fid}" if here else f"{root}waiting",
        prefix=f"field-{lock.lid}",
    )
    return {"form": html, "multipart": takes_files(elements)}


def says(elements: list[dict[str, Any]], data: Any) -> bool:
    """Whether a form's own texts hold every text that is in ``data``."""
    texts = [text for text in _texts(data) if text.strip()]
    words = " ".join(
        str(element.get("text") or "") for element in elements if element.get("type") in _DISPLAYS
    )
    said = " ".join(words.split())
    return bool(texts) and all(" ".join(text.split()) in said for text in texts)


def _texts(data: Any) -> list[str]:
    if isinstance(data, str):
        return [data]
    if isinstance(data, dict):
        return [text for value in data.values() for text in _texts(value)]
    if isinstance(data, list):
        return [text for value in data for text in _texts(value)]
    return []
