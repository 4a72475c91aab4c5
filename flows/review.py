"""A service that drafts an announcement, asks people, and revises until it is approved.

Who is asked is chosen at launch, and may answer by a link; half the time later they are reminded.
While it waits it holds no process, and what restarts meanwhile does not matter to it.
"""

from typing import Any, TypedDict

from fastapi import Request

from kodosumi_prefect.core import InputsError, KodosumiError, Launch, ServeAPI, Tracer
from kodosumi_prefect.core import forms as F
from kodosumi_prefect.response import Markdown

HOURS = 24  # that a draft waits for an answer
SUSPEND = 60  # seconds after which a run that waits ends its process
ROUNDS = 3  # drafts that are shown
MOST_POINTS = 50

app = ServeAPI(title="Review")

form = F.Model(
    F.Markdown(
        "Drafts an announcement from your points, plainly and without a model, and asks for "
        "approval before it is done."
    ),
    F.Errors(),
    F.InputText("title", "Title", required=True, placeholder="Maintenance on Sunday"),
    F.InputText("audience", "For whom", value="all"),
    F.InputArea("points", "Points, one a line", required=True, rows=6, max_length=20_000),
    F.InputNumber("rounds", "Drafts at most", value=ROUNDS, min_value=1, max_value=10, step=1),
    F.InputText(
        "reviewers",
        "Who is asked: names of accounts, team:name or owner, with commas between them",
        value="owner",
        placeholder="owner, team:legal",
    ),
    F.InputNumber("hours", "Hours to wait for an answer", value=HOURS, min_value=1, max_value=720),
    F.Submit("Draft"),
)


class Answer(TypedDict):
    """What a human said to a draft."""

    approved: bool
    comments: str


@app.enter(
    "/",
    model=form,
    summary="Draft and review",
    description="Drafts an announcement, waits for a human's approval, revises or finishes.",
    tags=["example", "human in the loop"],
    version="1.0",
)
def enter(inputs: dict[str, Any], request: Request) -> Launch:
    """Refuse what makes no draft, launch the rest."""
    points = lines_of(inputs["points"])
    if not points:
        raise InputsError(points="hold no text; write at least one")
    if len(points) > MOST_POINTS:
        raise InputsError(points=f"are {len(points)}; at most {MOST_POINTS} fit")
    return Launch(request, review, inputs=inputs, summary=f"Review: {inputs['title'][:60]}")


@app.lock("approve")
def ask(data: dict[str, Any]) -> F.Model:
    """The draft, and what to say to it."""
    return F.Model(
        F.Markdown(f"Draft {data['round']} of {data['rounds']}\n\n---\n\n{data['draft']}\n\n---"),
        F.Errors(),
        F.Select(
            "decision",
            [
                F.InputOption("approve", "Approve", value=True),
                F.InputOption("revise", "Revise it"),
            ],
            "Decision",
            value="approve",
        ),
        F.InputArea(
            "comments",
            "Comments",
            rows=4,
            max_length=20_000,
            placeholder="One a line: “+ a new point”, “- words of a point to drop”, or a remark.",
        ),
        F.Submit("Answer"),
    )


@app.lease("approve")
def decide(inputs: dict[str, Any]) -> Answer:
    """What was answered; a draft is not sent back without a word."""
    comments = (inputs.get("comments") or "").strip()
    approved = inputs.get("decision") == "approve"
    if not approved and not comments:
        raise InputsError(comments="are needed to revise the draft; say what should change")
    return Answer(approved=approved, comments=comments)


async def review(inputs: dict[str, Any], tracer: Tracer) -> Markdown:
    """Draft, ask, revise; at most ``inputs["rounds"]`` drafts.

    Arguments:
        inputs: ``title``, ``audience``, ``points`` (one a line), ``rounds``, ``reviewers``
            (names with commas between them), ``hours``.

    Raises:
        KodosumiError: nobody answered in time, or the last draft was not approved.
    """
    rounds, hours = int(float(inputs.get("rounds") or ROUNDS)), float(inputs.get("hours") or HOURS)
    points, remarks = lines_of(inputs["points"]), list[str]()
    for number in range(1, rounds + 1):
        draft = drafted(inputs, points, remarks)
        tracer.markdown(draft)
        tracer.progress(number - 1, rounds, f"draft {number} waits for approval")
        # After each answer a run without a process begins here anew: all between its questions is
        # only words, which may be said again.
        try:
            answer: Answer = await tracer.lock(
                "approve",
                {"draft": draft, "round": number, "rounds": rounds},
                timeout=hours * 3600,
                ask=reviewers_of(inputs),
                remind=hours * 3600 / 2,
                link=True,
                suspend=SUSPEND,
                title=f"Approve draft {number} of “{inputs['title'][:60]}”",
                question=f"{rounds - number} more drafts can follow this one."
                if number < rounds
                else "This is the last draft.",
            )
        except TimeoutError:
            raise KodosumiError(f"nobody answered draft {number} within {hours:g} hours") from None
        if answer["approved"]:
            tracer.progress(rounds, rounds, f"draft {number} is approved")
            said = [f"> {line}" for line in lines_of(answer["comments"])]
            return Markdown("\n\n".join([draft, "---", f"*Approved as draft {number}.*", *said]))
        tracer.action({"revise": number, "comments": answer["comments"]})
        points, remarks = revised(points, remarks, answer["comments"])
    raise KodosumiError(f"none of {rounds} drafts was approved")


def lines_of(text: str) -> list[str]:
    """The lines of a text that say something, without bullets."""
    return [line for raw in text.splitlines() if (line := raw.strip().lstrip("*•").strip())]


def reviewers_of(inputs: dict[str, Any]) -> list[str]:
    """Who is asked: the owner of the run, if nobody is named."""
    names = (inputs.get("reviewers") or "").split(",")
    return [name for each in names if (name := each.strip())] or ["owner"]


def drafted(inputs: dict[str, Any], points: list[str], remarks: list[str]) -> str:
    """The announcement as markdown."""
    audience = (inputs.get("audience") or "all").strip()
    lines = [
        f"# {inputs['title'].strip()}",
        f"To {audience}:",
        "\n".join(f"- {sentence(point)}" for point in points) or "*Nothing is left to say.*",
    ]
    if remarks:
        lines += ["To keep in mind:", "\n".join(f"- {sentence(remark)}" for remark in remarks)]
    return "\n\n".join(lines)


def sentence(text: str) -> str:
    """A point as a sentence: it begins large and ends with a stop."""
    begun = text[:1].upper() + text[1:]
    return begun if begun.endswith((".", "!", "?", "…", ":")) else f"{begun}."


def revised(points: list[str], remarks: list[str], comments: str) -> tuple[list[str], list[str]]:
    """Points and remarks after comments: “+ …” adds a point, “- …” drops those with the words."""
    points, remarks = list(points), list(remarks)
    for raw in comments.splitlines():
        mark, words = raw.strip()[:1], raw.strip()[1:].strip()
        if mark == "+" and words:
            points.append(words)
        elif mark == "-" and words:
            points = [point for point in points if words.casefold() not in point.casefold()]
        elif line := raw.strip():
            remarks.append(line)
    return points, remarks
