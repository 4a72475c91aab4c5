"""What is told in words: a title and a link, and what a question asks only where that is wanted."""

import json
from datetime import UTC, datetime
from typing import Any
from urllib.parse import quote

from kodosumi_prefect.database.rows.outbox import Word
from kodosumi_prefect.outbox.kinds import PREFIX

LONGEST_TITLE = 300  # characters
LARGEST_DATA = 16 * 1024  # characters of what a question asks; beyond it is left out


def title_of(word: Word) -> str:
    """What people call what it is about."""
    return (word.lock_title or word.lock_name or execution_title(word))[:LONGEST_TITLE]


def execution_title(word: Word) -> str:
    """What people call its execution, or its schedule."""
    named = word.summary or word.run_name or word.flow_name or word.facts.get("title")
    return str(named or word.fid or "a run")[:LONGEST_TITLE]


def link_to(word: Word, panel_url: str) -> str:
    """The panel's page about it."""
    if word.lid is not None and word.fid is not None:
        return f"{panel_url}/waiting/{word.fid}/{quote(word.lid, safe='')}"
    if word.fid is not None:
        return f"{panel_url}/executions/{word.fid}"
    return f"{panel_url}/schedules"


def facts_of(word: Word, panel_url: str, *, with_data: bool = False) -> dict[str, Any]:
    """What is told of it; see ``docs/tell-people.md``.

    Arguments:
        with_data: also what its question asks, and the data that its run gave along.
    """
    facts: dict[str, Any] = {
        "title": title_of(word),
        "link": link_to(word, panel_url),
        "execution": word.fid,
        "execution_title": execution_title(word),
        "flow": word.flow_name,
        "lock": word.lid,
        "expires": _moment(word.expires),
    }
    facts = {name: value for name, value in facts.items() if value is not None} | {
        name: value for name, value in word.facts.items() if name != "title"
    }
    if with_data and word.lid is not None:
        facts |= _asked(word)
    return facts


def body_of(word: Word, panel_url: str, *, with_data: bool, answer_link: str | None = None) -> str:
    """The body of a webhook, in the form that Standard Webhooks recommends.

    Arguments:
        answer_link: where its recipient, and nobody else, answers without signing in.
    """
    facts = facts_of(word, panel_url, with_data=with_data)
    if answer_link is not None:
        facts["answer_link"] = answer_link
    return json.dumps(
        {
            "type": PREFIX + word.kind,
            "timestamp": _moment(word.occurred),
            "data": facts,
        },
        ensure_ascii=False,
    )


def _asked(word: Word) -> dict[str, Any]:
    if len(word.question or "") + len(word.data or "") > LARGEST_DATA:
        return {"data_left_out": True}
    try:
        data = json.loads(word.data) if word.data else None
    except ValueError:
        data = word.data
    return {"question": word.question, "data": data}


def _moment(seconds: float | None) -> str | None:
    if seconds is None:
        return None
    text = datetime.fromtimestamp(seconds, UTC).isoformat(timespec="milliseconds")
    return text.replace("+00:00", "Z")
