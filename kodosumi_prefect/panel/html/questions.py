"""Questions of runs to people in words: who was asked what, and what became of it."""

import json
from collections.abc import Mapping, Sequence
from html import escape
from typing import Any

from kodosumi_prefect.events import Kind
from kodosumi_prefect.panel.html.markdown import markdown
from kodosumi_prefect.panel.html.render import render
from kodosumi_prefect.panel.html.values import cut
from kodosumi_prefect.panel.web.templating import duration, iso, moment

MAX_TITLE = 300  # characters

_ENVELOPES = {"Markdown", "HTML", "Text"}
_NOTHING = ("null", "{}", "[]", '""')
_ENDS = {"expired": "expired", "void": "no longer asked: its run ended or began anew"}


def fields_of(payload: str) -> dict[str, Any]:
    """What a ``lock`` or ``lease`` event holds; empty if that is nothing of ours."""
    try:
        stored = json.loads(payload)
    except ValueError:
        return {}
    fields = stored.get("dict") if isinstance(stored, dict) else None
    return fields if isinstance(fields, dict) else {}


def title_of(fields: Mapping[str, Any]) -> str:
    """What people call the question."""
    return cut(str(fields.get("title") or fields.get("name") or "a question"), MAX_TITLE)


def answered_by(source: Mapping[str, Any] | None) -> str | None:
    """The name of who answered, as a ``lease`` event has it."""
    who = (source or {}).get("answered_by")
    name = who.get("name") if isinstance(who, Mapping) else None
    return str(name)[:200] if name else None


def asked_html(payload: str, outcome: str | None = None) -> str:
    """A ``lock`` event: the question, what is known of its answer, and what was given along.

    Arguments:
        outcome: HTML of ``outcome_html``; None while it is not known.
    """
    fields = fields_of(payload)
    data = data_html(fields.get("data"))
    given = f"<details><summary>What it is about</summary>{data}</details>" if data else ""
    lid = escape(str(fields.get("lid") or ""))
    known = outcome or '<span class="open">waits for an answer</span>'
    return (
        f'<p class="asked" data-lid="{lid}">Asked “{escape(title_of(fields))}”'
        f'<span class="outcome">, {known}</span></p>{given}'
    )


def lease_html(payload: str, ts: float, source: Mapping[str, Any] | None) -> str:
    """A ``lease`` event by itself: how a question ended, for the card of its ``lock``."""
    fields = fields_of(payload)
    state = str(fields.get("state") or "leased")
    lid = escape(str(fields.get("lid") or ""))
    words = outcome_html(state, answered_by(source), None)
    return (
        f'<p class="settled" data-lid="{lid}" data-ts="{ts:.3f}">“{escape(title_of(fields))}” '
        f'<span class="how">{words}</span></p>{answer_html(fields.get("result"), state)}'
    )


def outcome_html(state: str, by: str | None, seconds: float | None) -> str:
    """What became of a question, in words.

    Arguments:
        seconds: from the question to its answer.
    """
    if state != "leased":
        return escape(_ENDS.get(state, state))
    who = f" by <strong>{escape(by)}</strong>" if by else ""
    after = f" after {duration(seconds)}" if seconds is not None else ""
    return f'answered{who}<span class="after">{after}</span>'


def steps_html(asked: str | None, steps: Sequence[tuple[str, float]]) -> str:
    """Who is asked, and what was done about it: each in words with its time in epoch seconds."""
    head = f"<li>asks {escape(asked)}</li>" if asked else ""
    done = "".join(
        f'<li>{escape(words)} <time datetime="{iso(at)}" data-local>{moment(at)} UTC</time></li>'
        for words, at in steps
    )
    return f'<ol class="lock-steps">{head}{done}</ol>' if head or done else ""


def answer_html(result: Any, state: str = "leased") -> str:
    """What was answered, as fields; empty if that says nothing."""
    if state == "expired" and json.dumps(result) not in _NOTHING:
        return f'<div class="answer"><p class="type">The run went on with</p>{_value(result)}</div>'
    if state != "leased" or json.dumps(result) in _NOTHING:
        return ""
    return f'<div class="answer">{_value(result)}</div>'


def data_html(data: Any) -> str:
    """What the run gave along with its question; empty if nothing. Texts of several lines are
    markdown, as most that ask for a human's opinion are.
    """
    return "" if json.dumps(data) in _NOTHING else _value(data)


def _value(value: Any) -> str:
    if isinstance(value, dict) and len(value) == 1 and value.keys() <= _ENVELOPES:
        return render(Kind.LOCK, json.dumps(value))
    if isinstance(value, str):
        return _text(value) if "\n" in value else f'<p class="plain">{escape(cut(value))}</p>'
    if not isinstance(value, dict):
        return render(Kind.LOCK, json.dumps({"dict": value}))
    long = {key: text for key, text in value.items() if isinstance(text, str) and "\n" in text}
    short = {key: part for key, part in value.items() if key not in long}
    # A dict of one key is no envelope here.
    table = render(Kind.LOCK, json.dumps({"dict": short})) if short else ""
    return table + "".join(
        f'<p class="type">{escape(cut(str(key), 200))}</p>{_text(text)}'
        for key, text in long.items()
    )


def _text(text: str) -> str:
    return f'<div class="markdown">{markdown(text)}</div>'
