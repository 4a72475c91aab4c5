"""Log records of flows: each recorded once, whatever a flow makes of logging."""

import logging
import logging.config
import queue
import sys
from collections.abc import Callable, Iterator
from logging import handlers
from pathlib import Path

import pytest
from prefect import get_run_logger
from rich.logging import RichHandler

from kodosumi_prefect import flow
from tests.services import Place


def test_a_log_record_whose_arguments_do_not_fit_is_recorded(
    place: Place, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(logging, "raiseExceptions", False)
    quiet = logging.getLogger("author.misfit")

    @flow
    def misfit() -> str:
        quiet.warning("%d apples", "some")
        return "own result"

    recorded = place.run(misfit)
    (text,) = recorded.of("debug")
    assert "%d apples" in text
    assert recorded.row["status"] == "finished"


def test_an_exception_in_a_log_record_is_recorded_with_its_traceback(place: Place) -> None:
    @flow
    def logs() -> None:
        try:
            1 / 0
        except ZeroDivisionError:
            logging.getLogger("author").exception("dividing")

    (event,) = [event for event in place.run(logs).events if event.kind == "debug"]
    assert event.payload.startswith("dividing\nTraceback")
    assert event.payload.endswith("ZeroDivisionError: division by zero")
    assert (event.source["level"], event.source["logger"]) == ("ERROR", "author")


def test_loggers_of_the_machinery_are_not_recorded(place: Place) -> None:
    @flow
    def machinery() -> None:
        for name in ("psycopg.pool", "kodosumi_prefect.spooler", "prefect.engine", "ray"):
            logging.getLogger(name).warning("about the machinery")
        logging.getLogger("prefectionist").warning("about the work")

    assert place.run(machinery).of("debug", "stderr", "stdout") == ["about the work"]


def test_prefects_own_lines_are_not_recorded(place: Place) -> None:
    @flow
    def silent() -> None:
        get_run_logger().info("mine")

    assert place.run(silent).of("debug", "stderr", "stdout") == ["mine"]


CONFIGURED = {
    "basicConfig": lambda: logging.basicConfig(force=True),
    "basicConfig with a level": lambda: logging.basicConfig(force=True, level=logging.INFO),
    "dictConfig to a stream": lambda: logging.config.dictConfig(
        {
            "version": 1,
            "disable_existing_loggers": False,
            "handlers": {"out": {"class": "logging.StreamHandler", "stream": "ext://sys.stdout"}},
            "root": {"handlers": ["out"], "level": "INFO"},
        }
    ),
    "dictConfig to nowhere": lambda: logging.config.dictConfig(
        {"version": 1, "disable_existing_loggers": False, "root": {"handlers": []}}
    ),
    "a console of its own": lambda: logging.getLogger().addHandler(RichHandler()),
}


@pytest.fixture
def _logging_as_it_was() -> Iterator[None]:
    root = logging.getLogger()
    handlers, level = root.handlers[:], root.level
    yield
    root.handlers[:] = handlers
    root.setLevel(level)


@pytest.mark.parametrize("configure", CONFIGURED.values(), ids=CONFIGURED.keys())
@pytest.mark.usefixtures("_logging_as_it_was")
def test_records_are_recorded_once_whatever_a_flow_makes_of_logging(
    place: Place, configure: Callable[[], None]
) -> None:
    @flow
    def configures() -> None:
        configure()
        logging.getLogger("author.part").warning("by a logger")
        logging.warning("by the root")
        get_run_logger().info("by the run logger")
        print("by print")

    recorded = place.run(configures)
    said = [text.strip() for text in recorded.of("stdout", "stderr", "debug")]
    # At INFO, what Prefect's HTTP client says of its requests is the author's wish, too.
    said = [text for text in said if not text.startswith("HTTP Request")]
    assert said == ["by a logger", "by the root", "by the run logger", "by print"]


@pytest.mark.usefixtures("_logging_as_it_was")
def test_a_logger_that_goes_its_own_way_is_recorded_by_the_stream_it_writes_to(
    place: Place,
) -> None:
    apart = logging.getLogger("author.apart")
    apart.propagate = False

    @flow
    def quiet() -> None:
        apart.addHandler(logging.NullHandler())
        apart.warning("to nobody")
        apart.addHandler(logging.StreamHandler(sys.stdout))
        apart.warning("to stdout")

    try:
        recorded = place.run(quiet)
    finally:
        apart.handlers.clear()
    assert recorded.of("stdout", "stderr", "debug") == ["to stdout"]


@pytest.mark.usefixtures("_logging_as_it_was")
def test_a_record_that_a_queue_listener_writes_is_recorded_once(place: Place) -> None:
    @flow
    def listens() -> None:
        records: queue.SimpleQueue[logging.LogRecord] = queue.SimpleQueue()
        logging.getLogger().addHandler(handlers.QueueHandler(records))
        listener = handlers.QueueListener(records, logging.StreamHandler(sys.stdout))
        listener.start()
        logging.getLogger("author").warning("queued")
        listener.stop()

    assert place.run(listens).of("stdout", "stderr", "debug") == ["queued"]


def test_a_flow_that_configures_logging_gets_what_it_asked_for(
    place: Place, tmp_path: Path
) -> None:
    done = place.call("script_configures.py", str(tmp_path / "fid"))
    assert done.returncode == 0, done.stderr
    assert "as the author wants it: configured" in done.stderr.splitlines()
    assert "Running hook" not in done.stderr
    recorded = place.recorded((tmp_path / "fid").read_text())
    assert recorded.of("stdout", "stderr", "debug") == ["configured", "printed", "to stderr"]
