"""What stands behind an endpoint runs as any flow of ours, whatever it is."""

import json

import pytest

from kodosumi_prefect.launch.launch import Launch
from kodosumi_prefect.launch.refusal import LaunchError
from tests.samples import entrypoints
from tests.serve.launches import Launcher, request

HERE = "tests.samples.entrypoints"


def test_a_launched_run_streams_as_any_other(launcher: Launcher) -> None:
    endpoint = launcher.endpoint(
        "Digest", tags=("a", "b"), author="me", organization="us", version="2", description="long"
    )
    recorded = launcher.run(f"{HERE}:plain", {"name": "Ada"}, endpoint=endpoint, summary="One")
    assert [kind for kind, _ in recorded.told] == [
        *("status", "status", "debug", "stdout", "final", "status")
    ]
    assert recorded.of("status") == ["starting", "running", "finished"]
    assert recorded.final == {"Markdown": {"body": "# Ada"}}
    assert json.loads(recorded.of("inputs")[0]) == {"dict": {"name": "Ada"}}
    meta = json.loads(recorded.of("meta")[0])["dict"]
    assert meta["fid"] == recorded.fid
    assert meta["username"] == "ada"
    assert meta["entry_point"] == f"{HERE}:plain"
    assert (meta["summary"], meta["description"]) == ("One", "long")
    assert (meta["author"], meta["organization"], meta["version"]) == ("me", "us", "2")
    assert meta["tags"] == ["a", "b"]
    assert meta["app_url"] == "http://service"
    assert recorded.row["flow_name"] == "digest"
    assert recorded.row["summary"] == "One"
    assert recorded.row["entry_point"] == f"{HERE}:plain"


@pytest.mark.parametrize(
    ("name", "inputs", "final"),
    [
        (f"{HERE}.other_order", {"a": 1}, {"dict": {"a": 1}}),
        (f"{HERE}:only_tracer", {}, {"str": "tracer"}),
        (f"{HERE}:nothing", {"a": 1}, {"str": "nothing"}),
        (f"{HERE}:in_tasks", {}, {"__list__": [{"int": 0}, {"int": 2}]}),
        (f"{HERE}:takes_inputs", {"a": 1, "b": 2}, {"int": 2}),
        (f"{HERE}:crew", {"a": "1"}, {"str": "kicked off with {'a': '1'}"}),
    ],
)
def test_entrypoints_by_name(launcher: Launcher, name: str, inputs: object, final: object) -> None:
    recorded = launcher.run(name, inputs)
    assert recorded.final == final
    assert recorded.row["status"] == "finished"


crew = entrypoints.crew


@pytest.mark.parametrize(
    ("target", "final", "name"),
    [
        (entrypoints.nothing, "nothing", f"{HERE}:nothing"),
        (entrypoints.only_tracer, "tracer", f"{HERE}:only_tracer"),
        (crew, "kicked off with {}", f"{__name__}:crew"),
    ],
)
def test_entrypoints_by_what_they_are(
    launcher: Launcher, target: object, final: str, name: str
) -> None:
    # A crew has no name of its own: it is looked for among the globals of its launch.
    launch = Launch(request(), target)
    recorded = launcher.execute(launcher.do(launch.go, launcher.endpoint()))
    assert recorded.final == {"str": final}
    assert recorded.row["entry_point"] == name


def test_a_typed_flow_gets_its_parameters_and_its_own_options(launcher: Launcher) -> None:
    recorded = launcher.run(entrypoints.typed, {"order": {"count": 3}, "word": "ab"})
    assert recorded.final == {"str": "ababab"}
    assert recorded.of("debug") == ["typed"]
    assert recorded.of("status") == ["starting", "running", "finished"]
    assert launcher.flow_run(recorded.fid).empirical_policy.retries == 1


@pytest.mark.parametrize("name", ["items", "async_items"])
def test_items_of_a_generator_are_results(launcher: Launcher, name: str) -> None:
    recorded = launcher.run(f"{HERE}:{name}")
    assert recorded.of("result") == ['{"int": 1}', '{"int": 2}']


def test_an_error_for_people_has_no_type_name(launcher: Launcher) -> None:
    recorded = launcher.run(f"{HERE}:fails")
    assert recorded.row["error"] == "no such document"
    assert recorded.of("status")[-1] == "error"


def test_tracebacks_begin_with_the_authors_code(launcher: Launcher) -> None:
    recorded = launcher.run(f"{HERE}:fails_async")
    (error,) = recorded.of("error")
    lines = error.splitlines()
    assert "entrypoints.py" in lines[1]
    assert recorded.row["error"] == "ValueError: of the author"


def test_a_launch_is_tried_again_as_often_as_it_says(launcher: Launcher) -> None:
    recorded = launcher.run(f"{HERE}:flaky", retries=2, retry_delay=0)
    assert recorded.final == {"str": "at last"}
    assert recorded.row["attempt"] == 3


@pytest.mark.parametrize(
    ("entry_point", "named"),
    [
        ("tests.samples.no_such:x", "No module named 'tests.samples.no_such'"),
        (f"{HERE}:missing", "has no missing"),
        (f"{HERE}:number", "is int"),
        (lambda: None, "<lambda>"),
        (7, "7"),
    ],
)
def test_what_cannot_be_imported_is_refused_in_one_line(
    launcher: Launcher, entry_point: object, named: str
) -> None:
    with pytest.raises(LaunchError) as caught:
        launcher.launch(entry_point)
    assert named in caught.value.detail
    assert "\n" not in caught.value.detail
