"""What tests of frameworks share: a run whose spans are kept, and their tree as text."""

import json
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any
from unittest.mock import patch
from uuid import uuid4

from kodosumi_prefect.adapter.execution import settle
from kodosumi_prefect.events import Event
from kodosumi_prefect.scope import Scope, attach_adapters, entered
from kodosumi_prefect.settings import Settings, use_settings
from kodosumi_prefect.spooler.inbox import Weigh

TOKENS = ("input", "output", "cached", "reasoning")


class Spans:
    """The events of spans of a run; takes the place of the client that delivers them."""

    def __init__(self, fid: str, settings: Settings) -> None:
        self.fid = fid
        self.settings = settings
        self.begun: list[dict[str, Any]] = []
        self.ended: dict[str, dict[str, Any]] = {}

    def emit(self, fid: str, event: Event) -> None:
        assert fid == self.fid
        assert event.kind == "span"
        body = json.loads(event.payload)["Span"]
        if body["at"] == "begin":
            self.begun.append(body)
        else:
            assert body["id"] not in self.ended, "ended twice"
            self.ended[body["id"]] = body

    connected = False  # to a database, which would know of budgets

    def weigh(self, fid: str) -> Weigh:
        weighed = Weigh(fid)
        weighed.passed.set()
        return weighed

    def named(self, name: str) -> dict[str, Any]:
        """All that is known of the one span of a name."""
        [begun] = [body for body in self.begun if body["name"] == name]
        return begun | self.ended.get(begun["id"], {})

    def tree(self, *, parallel: bool = False) -> list[str]:
        """A line a span, indented below its parent, in the order in which they began.

        Type, name, model, tokens (of input, output, cached, of reasoning), the status if it is not
        ok, and why it failed.

        Arguments:
            parallel: it is chance which begins first; those of one parent are sorted.
        """
        return list(self._below(None, 0, parallel))

    def _below(self, parent: str | None, depth: int, parallel: bool) -> Iterator[str]:
        found = [
            ["  " * depth + self._line(body), *self._below(body["id"], depth + 1, parallel)]
            for body in self.begun
            if body.get("parent") == parent
        ]
        for lines in sorted(found) if parallel else found:
            yield from lines

    def _line(self, begun: dict[str, Any]) -> str:
        end = self.ended.get(begun["id"], {"status": "unended"})
        words = [begun["type"], begun["name"]]
        if model := end.get("model") or begun.get("model"):
            words.append(f"[{model}]")
        if usage := end.get("usage"):
            words.append("/".join(str(usage.get(name, "?")) for name in TOKENS))
        if end["status"] != "ok":
            words.append(end["status"])
        if error := end.get("error"):
            words.append(f"({error})")
        return " ".join(words)


@contextmanager
def a_run(folder: Path, **settings: Any) -> Iterator[Spans]:
    """Inside the block the code is a run's, and its spans are kept."""
    spans = Spans(str(uuid4()), Settings(data_dir=folder, **settings))
    with (
        use_settings(spans.settings),
        patch("kodosumi_prefect.tracer.get_client", lambda *_: spans),
        patch("kodosumi_prefect.instrumentation.of_run.get_client", lambda *_: spans),
        patch("kodosumi_prefect.budgets.get_client", lambda *_: spans),
        entered(Scope(spans.fid)),
    ):
        attach_adapters()
        yield spans
        settle()
