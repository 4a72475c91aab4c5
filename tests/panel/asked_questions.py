"""Runs that ask particular people, through a panel."""

import time
from typing import Any
from uuid import uuid4

from kodosumi_prefect import forms
from kodosumi_prefect.events import serialize
from tests.panel.panel_runs import Run, Stand

FORM = forms.Model(forms.InputNumber("stars", min_value=1, max_value=5, required=True))


def asking(
    stand: Stand, owner: str | None = None, form: Any = FORM, **told: Any
) -> tuple[Run, str]:
    """A run of ``owner`` that waits for an answer, and the path of its question."""
    run = stand.run(owner=owner).begin(topic="x")
    lid = str(uuid4())
    fields = {"name": "rate", "lid": lid, "data": {"draft": 7}, "expires": time.time() + 60}
    if form is not None:
        fields["elements"] = form.get_model()
    run.say("lock", serialize(fields | told))
    return run, f"{run.fid}/{lid}"


def add_team(stand: Stand, name: str, *members: str) -> None:
    made = stand.client.post("/team", json={"name": name, "members": list(members)})
    assert made.status_code == 201, made.text
