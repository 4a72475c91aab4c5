"""Counts the words of a text on Ray: a flow, and the form that starts it from the panel."""

import re
from collections import Counter
from typing import Any

from prefect import task
from starlette.requests import Request

from kodosumi_prefect import Tracer, flow
from kodosumi_prefect.core import InputsError, Launch, ServeAPI
from kodosumi_prefect.core import forms as F

TEXT = "The quick brown fox jumps over the lazy dog.\nThe dog sleeps."

app = ServeAPI(title="Word report")
FORM = F.Model(
    F.Markdown("Which words a text has most, counted line by line on Ray."),
    F.InputArea("text", "Text", value=TEXT, required=True),
    F.InputNumber("top", "Words in the table", value=5, min_value=1, max_value=50, step=1),
    F.Submit("Count"),
)


@app.enter("/", model=FORM, summary="Word report", tags=["example"])
async def enter(request: Request, inputs: dict[str, Any]) -> Launch:
    if not words_of(inputs["text"]):
        raise InputsError(text="has no words")
    values = {"text": inputs["text"], "top": int(inputs["top"] or 5)}
    return Launch(request, word_report, inputs=values)


@flow(summary="Word report", description="The words that a text has most.", tags=["example"])
def word_report(tracer: Tracer, text: str = TEXT, top: int = 5) -> dict[str, int]:
    """Count the words of a text.

    Arguments:
        text: of any number of lines.
        top: how many words the table has.
    """
    lines = text.splitlines()
    futures = [count.submit(number, line) for number, line in enumerate(lines, 1)]
    total: Counter[str] = Counter()
    for done, future in enumerate(futures, 1):
        total += future.result()
        tracer.progress(done, len(lines), f"{len(total)} different words so far")
    most = total.most_common(top)
    tracer.markdown("| word | count |\n|---|---|\n" + "\n".join(f"| {w} | {n} |" for w, n in most))
    return dict(most)


@task(task_run_name="line-{number}")
def count(number: int, line: str) -> Counter[str]:
    """Count the words of a line; what it prints is recorded, too."""
    words = words_of(line)
    print(f"line {number}: {len(words)} words")
    return Counter(words)


def words_of(text: str) -> list[str]:
    return re.findall(r"\w+", text.lower())
