"""log_json: a JSON object a line, which names the execution it is about."""

import json
import logging
import os
import subprocess
import sys
from collections.abc import Iterator
from contextlib import suppress
from io import StringIO
from pathlib import Path

import pytest

from kodosumi_prefect.cli.logs import OURS, JsonLines, install_logging
from kodosumi_prefect.settings import Settings
from kodosumi_prefect.stack.prefect_server import worker_child
from tests.panel.panel_runs import serving


@pytest.fixture
def written(settings: Settings, monkeypatch: pytest.MonkeyPatch) -> Iterator[StringIO]:
    """What the log handler of a process with ``log_json`` writes."""
    stream = StringIO()
    before = {
        name: (logging.getLogger(name).handlers[:], logging.getLogger(name).propagate)
        for name in OURS
    }
    monkeypatch.setattr(sys, "stderr", stream)
    install_logging(settings.model_copy(update={"log_json": True}))
    yield stream
    for name, (handlers, propagate) in before.items():
        logging.getLogger(name).handlers[:] = handlers
        logging.getLogger(name).propagate = propagate


def lines(stream: StringIO) -> list[dict[str, object]]:
    return [json.loads(line) for line in stream.getvalue().splitlines()]


def test_a_line_is_one_object_also_with_a_traceback(written: StringIO) -> None:
    logger = logging.getLogger("kodosumi_prefect.somewhere")
    logger.warning("two\nlines of %s", "text", extra={"fid": "an-fid"})
    with suppress(ValueError):
        try:
            raise ValueError("no\nway")
        except ValueError:
            logger.exception("it broke")
            raise
    first, second = lines(written)
    assert first.pop("ts")
    assert first == {
        "level": "warning",
        "logger": "kodosumi_prefect.somewhere",
        "message": "two\nlines of text",
        "pid": os.getpid(),
        "fid": "an-fid",
    }
    assert str(second["error"]).endswith("ValueError: no\nway")
    assert "fid" not in second


def test_what_goes_wrong_with_an_execution_names_it(
    settings: Settings, written: StringIO, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def broken(*_: object, **__: object) -> None:
        raise KeyError("unforeseen")

    with serving(settings) as panel:
        run = panel.run().begin()
        monkeypatch.setattr(panel.app.state.panel.reader, "page", broken)
        assert panel.get(f"/outputs/events/{run.fid}").status_code == 500
    (line,) = [line for line in lines(written) if "error" in line]
    assert line["fid"] == run.fid
    assert "KeyError" in str(line["error"])


def test_without_the_setting_lines_are_text(
    settings: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    logger = logging.getLogger("kodosumi_prefect")
    before = logger.handlers[:]
    try:
        install_logging(settings)
        (added,) = [handler for handler in logger.handlers if handler not in before]
        assert not isinstance(added.formatter, JsonLines)
    finally:
        logger.handlers[:] = before


def test_a_worker_logs_json_by_prefects_own_means(settings: Settings, tmp_path: Path) -> None:
    log = tmp_path / "worker.log"
    assert (
        "PREFECT_LOGGING_HANDLERS_CONSOLE_FORMATTER"
        not in worker_child(settings, "pool", {}, log).env
    )
    child = worker_child(settings.model_copy(update={"log_json": True}), "pool", {}, log)
    given = {name: value for name, value in child.env.items() if value is not None}
    script = (
        "from prefect.logging.configuration import setup_logging; setup_logging();"
        "from prefect.logging import get_logger; get_logger('worker').warning('a %s', 'line', "
        "extra={'flow_run_id': 'an-id'})"
    )
    done = subprocess.run(
        [sys.executable, "-c", script],
        env=os.environ | given,
        capture_output=True,
        text=True,
        timeout=60,
    )
    (line,) = [json.loads(text) for text in done.stderr.splitlines()]
    assert (line["flow_run_id"], line["severity"]) == ("an-id", "WARNING")
