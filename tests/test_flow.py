"""``@flow``: signatures, options, retries, timeouts, failures, subflows."""

from typing import Any

import orjson
import prefect
import pytest
from prefect import task
from prefect.flow_engine import run_flow
from prefect.flows import Flow
from prefect.task_runners import ThreadPoolTaskRunner
from prefect.utilities.callables import parameter_schema
from pydantic import BaseModel

import kodosumi_prefect
from kodosumi_prefect import Tracer, TracerMock, flow
from kodosumi_prefect.adapter import hooks
from kodosumi_prefect.observer.changes import change_to
from kodosumi_prefect.observer.recorder import Recorder
from kodosumi_prefect.spooler.client import SpoolClient
from kodosumi_prefect.task_runner import RayTaskRunner
from tests.samples import shapes
from tests.samples.shapes import Order, Shop
from tests.services import Place, Recorded

ADA = {"name": "Ada"}


@pytest.mark.parametrize(
    ("entrypoint", "args", "kwargs", "got"),
    [
        (shapes.inputs_then_tracer, (ADA,), {}, "got {'name': 'Ada'}"),
        (shapes.inputs_then_tracer, (), {"inputs": ADA}, "got {'name': 'Ada'}"),
        (shapes.tracer_then_inputs, (ADA,), {}, "got {'name': 'Ada'}"),
        (shapes.untyped, (ADA,), {}, "got {'name': 'Ada'}"),
        (shapes.only_inputs, (ADA,), {}, None),
        (shapes.only_tracer, (), {}, "got nothing"),
        (shapes.nothing, (), {}, None),
        (shapes.typed, ("Ada",), {}, "got 'Ada' 2 False"),
        (shapes.typed, ("Ada", "3"), {"loud": "yes"}, "got 'Ada' 3 True"),
        (shapes.keyword_tracer, (), {}, "got 'Ada'"),
        (Shop.open, (ADA,), {}, "got corner {'name': 'Ada'}"),
        (Shop.close, (ADA,), {}, "got {'name': 'Ada'}"),
        (Shop().visit, (ADA,), {}, "got corner {'name': 'Ada'}"),
    ],
)
def test_every_signature_gets_what_it_asks_for(
    place: Place, entrypoint: Flow[..., Any], args: tuple, kwargs: dict, got: str | None
) -> None:
    recorded = place.run(entrypoint, *args, **kwargs)
    assert recorded.row["status"] == "finished", recorded.row["error"]
    assert recorded.of("debug") == ([] if got is None else [got])
    assert recorded.final == {"str": "Ada"}


def test_positional_and_keyword_collectors_get_what_they_ask_for(place: Place) -> None:
    recorded = place.run(shapes.many, "Ada", "Bob", names_=1)
    assert recorded.row["status"] == "finished", recorded.row["error"]
    assert recorded.of("debug") == ["got ('Ada', 'Bob') {'names_': 1}"]


async def test_an_async_entrypoint_gets_what_it_asks_for(place: Place) -> None:
    recorded = await place.run_async(shapes.asynchronous, ADA)
    assert recorded.of("debug") == ["got {'name': 'Ada'}"]
    assert recorded.final == {"str": "Ada"}


def test_a_pydantic_parameter_arrives_as_its_model(place: Place) -> None:
    recorded = place.run(shapes.modelled, {"item": "tea", "count": 2})
    assert recorded.of("debug") == ["got Order(item='tea', count=2)"]
    assert recorded.final == {"Receipt": {"item": "tea", "price": 5.0}}
    assert recorded.events[1].value == {"order": {"item": "tea", "count": 2}}
    assert place.run(shapes.modelled, Order(item="tea")).final["Receipt"]["price"] == 2.5


def test_a_generator_is_recorded_and_gives_its_items(place: Place) -> None:
    assert list(shapes.generator(3)) == [0, 1, 2]
    recorded = place.recorded(place.fids("generator")[-1])
    assert recorded.of("debug") == ["giving 0", "giving 1", "giving 2"]
    assert recorded.row["status"] == "finished"
    assert recorded.final == {"str": "done"}


async def test_an_async_generator_is_recorded_and_gives_its_items(place: Place) -> None:
    assert [number async for number in shapes.async_generator(2)] == [0, 1]
    recorded = place.recorded(place.fids("async-generator")[-1])
    assert recorded.of("debug") == ["giving 0", "giving 1"]
    assert recorded.row["status"] == "finished"


@pytest.mark.parametrize(
    ("entrypoint", "names"),
    [
        (shapes.inputs_then_tracer, {"inputs"}),
        (shapes.tracer_then_inputs, {"inputs"}),
        (shapes.only_tracer, set()),
        (shapes.typed, {"name", "count", "loud"}),
        (shapes.keyword_tracer, {"name"}),
        (shapes.modelled, {"order"}),
        (shapes.generator, {"count"}),
        (shapes.asynchronous, {"inputs"}),
    ],
)
def test_prefects_form_lacks_the_tracer(entrypoint: Flow[..., Any], names: set[str]) -> None:
    assert set(entrypoint.parameters.properties) == names
    assert set(parameter_schema(entrypoint.fn).properties) == names


def test_prefects_form_knows_types_bounds_and_defaults() -> None:
    properties = shapes.typed.parameters.properties
    assert properties["name"]["type"] == "string"
    assert properties["count"]["default"] == 2
    assert shapes.bounded.parameters.properties["count"]["maximum"] == 9
    assert shapes.bounded.parameters.required == ["count"]
    assert "Order" in shapes.modelled.parameters.definitions


def test_parameters_are_validated(place: Place) -> None:
    with pytest.raises(prefect.exceptions.ParameterTypeError, match="less than or equal to 9"):
        shapes.bounded(10)


def test_the_function_can_be_called_by_hand(capsys: pytest.CaptureFixture[str]) -> None:
    assert shapes.inputs_then_tracer.fn(ADA) == "Ada"
    assert shapes.inputs_then_tracer.fn(ADA, TracerMock()) == "Ada"
    assert shapes.tracer_then_inputs.fn(TracerMock(), ADA) == "Ada"
    assert shapes.inputs_then_tracer.fn(inputs=ADA, tracer=TracerMock()) == "Ada"
    assert capsys.readouterr().out.splitlines() == ["debug: got {'name': 'Ada'}"] * 4


def test_the_options_reach_prefect_and_the_stream(place: Place) -> None:
    @flow(
        summary="Says hello",
        description="Longer text",
        tags=["b", "a"],
        author="Ada",
        organization="Analytical",
        version="1.2",
        deprecated=True,
        name="greeting",
        timeout_seconds=60,
        retry_delay_seconds=3,
    )
    def hello(inputs: dict, tracer: Tracer) -> None:
        """Not this."""

    assert (hello.name, hello.version, hello.timeout_seconds) == ("greeting", "1.2", 60)
    assert (hello.description, hello.retry_delay_seconds) == ("Longer text", 3)
    row = place.run(hello, {}).row
    told = {name: row[name] for name in ("flow_name", "summary", "description", "tags", "author")}
    assert told == {
        "flow_name": "greeting",
        "summary": "Says hello",
        "description": "Longer text",
        "tags": ["b", "a"],
        "author": "Ada",
    }
    assert (row["organization"], row["version"], row["deprecated"]) == ("Analytical", "1.2", True)


def test_a_wrong_option_is_refused() -> None:
    with pytest.raises(TypeError, match="sumary"):
        flow(sumary="typo")(lambda: None)
    with pytest.raises(ValueError, match="task runner"):
        flow(ray_options={"num_cpus": 1}, task_runner=ThreadPoolTaskRunner())(lambda: None)


def test_without_a_task_runner_tasks_go_to_ray() -> None:
    made = flow(ray_address="ray://head:10001", ray_options={"num_cpus": 2})(lambda: None)
    assert isinstance(made.task_runner, RayTaskRunner)
    assert made.task_runner.address == "ray://head:10001"
    assert made.task_runner.options == {"num_cpus": 2}


def test_the_entrypoint_leads_back_to_the_flow() -> None:
    assert shapes.typed._entrypoint == "tests.samples.shapes:typed"
    assert shapes.typed.version is not None
    loaded = prefect.flows.load_flow_from_entrypoint("tests.samples.shapes:typed")
    assert loaded is shapes.typed


def test_with_options_keeps_what_we_do(place: Place) -> None:
    changed = shapes.inputs_then_tracer.with_options(name="renamed", retries=1)
    assert type(changed) is Flow
    recorded = place.run(changed, ADA)
    assert recorded.row["flow_name"] == "renamed"
    assert recorded.of("debug") == ["got {'name': 'Ada'}"]
    assert recorded.of("status") == ["starting", "running", "finished"]


def test_another_task_runner_is_used_and_recorded(place: Place) -> None:
    @task
    def work() -> str:
        print("in a thread")
        return "done"

    @flow(task_runner=ThreadPoolTaskRunner(max_workers=2))
    def threaded() -> str:
        return work.submit().result()

    recorded = place.run(threaded)
    assert recorded.of("stdout") == ["in a thread"]
    (printed,) = [event for event in recorded.events if event.kind == "stdout"]
    assert printed.source["task_run"]["name"].startswith("work")
    assert recorded.final == {"str": "done"}


def test_a_run_started_by_id_is_recorded_under_it(place: Place) -> None:
    @flow
    def deployed(inputs: dict, tracer: Tracer) -> str:
        return inputs["name"]

    with prefect.get_client(sync_client=True) as client:
        flow_run = client.create_flow_run(deployed, parameters={"inputs": ADA}, tags=["nightly"])
    run_flow(deployed, flow_run=flow_run, parameters=flow_run.parameters)
    recorded = place.recorded(str(flow_run.id))
    assert recorded.row["status"] == "finished"
    assert recorded.row["tags"] == ["nightly"]
    assert recorded.events[1].value == ADA


def test_a_disabled_recorder_records_nothing(place: Place) -> None:
    from kodosumi_prefect.settings import use_settings

    @flow
    def unrecorded(tracer: Tracer) -> str:
        tracer.debug("unheard")
        print("unheard")
        return "own result"

    @prefect.flow
    def plain_unrecorded() -> str:
        kodosumi_prefect.tracer.debug("unheard")
        return "own result"

    with use_settings(place.settings.model_copy(update={"enabled": False})):
        assert unrecorded() == "own result"
        assert plain_unrecorded() == "own result"
        with pytest.raises(ZeroDivisionError):
            flow(lambda: 1 / 0, name="unrecorded-failure")()
    assert place.fids("unrecorded") == place.fids("plain-unrecorded") == []
    assert place.fids("unrecorded-failure") == []


def test_a_flow_has_each_hook_once() -> None:
    assert shapes.typed.on_running_hooks == [hooks.record_state]
    assert shapes.typed.with_options(name="again").on_running_hooks == [hooks.record_state]


class Part(BaseModel):
    name: str = "bolt"
    count: int = 1


def deployed_run(place: Place, deployed: Flow[..., Any], parameters: dict[str, Any]) -> Recorded:
    """Run a flow as a worker does, after others told of it what they knew."""
    with prefect.get_client(sync_client=True) as client:
        flow_run = client.create_flow_run(deployed, tags=["nightly"])
        client.update_flow_run(flow_run.id, parameters=parameters)
        flow_run = client.read_flow_run(flow_run.id)
    recorder = SpoolClient(place.settings)
    Recorder(recorder).begin(flow_run, deployed.name, change_to(flow_run, flow_run.state))
    assert recorder.flush(30)
    recorder.close()
    run_flow(deployed, flow_run=flow_run)
    return place.recorded(str(flow_run.id))


def test_what_a_flow_says_of_itself_counts_more_than_what_a_worker_said_first(
    place: Place,
) -> None:
    @flow(summary="Counts parts", description="All of them", tags=["stock"], author="me")
    def counts() -> None: ...

    recorded = deployed_run(place, counts, {})
    words = {name: recorded.row[name] for name in ("summary", "description", "tags", "author")}
    assert words == {
        "summary": "Counts parts",
        "description": "All of them",
        "tags": ["stock", "nightly"],
        "author": "me",
    }
    (meta,) = (event.value for event in recorded.events if event.kind == "meta")
    assert {name: meta[name] for name in words} == words


def test_inputs_of_a_deployed_run_are_what_its_flow_gets(place: Place) -> None:
    @flow
    def takes(number: int, part: Part, word: str = "default", *, flag: bool = False) -> None: ...

    recorded = deployed_run(place, takes, {"number": "3", "part": {"count": "2"}})
    inputs = {
        "number": 3,
        "part": {"name": "bolt", "count": 2},
        "word": "default",
        "flag": False,
    }
    (told,) = (event.value for event in recorded.events if event.kind == "inputs")
    assert told == inputs
    assert orjson.loads(recorded.row["inputs"]) == {"dict": inputs}
    kinds = [event.kind for event in recorded.events]
    assert kinds == ["status", "inputs", "meta", "status", "final", "status"]


@pytest.mark.parametrize("kind", ["group", "notes", "pydantic"])
def test_the_line_of_an_error_says_what_went_wrong(place: Place, kind: str) -> None:
    @flow
    def breaks() -> None:
        if kind == "pydantic":
            Part.model_validate({"count": "many"})
        error = ValueError("no part")
        error.add_note("while counting")
        raise ExceptionGroup("together", [error, KeyError("x")]) if kind == "group" else error

    assert (
        place.run(breaks).row["error"]
        == {
            "group": "ValueError: no part; KeyError: 'x'",
            "notes": "ValueError: no part",
            "pydantic": "pydantic_core._pydantic_core.ValidationError: 1 validation error for Part",
        }[kind]
    )
