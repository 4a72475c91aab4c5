"""The tracer: what each method records, from where, and what it never carries."""

import inspect
import pickle
import pickletools

import prefect
import pytest
from prefect.task_runners import ThreadPoolTaskRunner

import kodosumi_prefect
from kodosumi_prefect import KodosumiError, Tracer, TracerMock, flow, tracer
from kodosumi_prefect.adapter import capture
from kodosumi_prefect.adapter.execution import only_live
from kodosumi_prefect.adapter.ray_calls import bound_scope
from kodosumi_prefect.adapter.roots import find_scope
from kodosumi_prefect.keys import run_key
from kodosumi_prefect.scope import Scope, finders
from kodosumi_prefect.tracer import NoRunError
from tests.services import Place


def test_each_method_records_its_kind(place: Place) -> None:
    @flow
    def all_kinds(tracer: Tracer) -> None:
        tracer.debug("a", 1, None)
        tracer.result("one", {"two": 2})
        tracer.action("act", [1, "b"])
        tracer.markdown("# a", "b")
        tracer.html("<p>", "</p>")
        tracer.text("a", "b")
        tracer.warning("careful", "now")
        tracer.progress(1, 3, "first")
        tracer.progress(2)

    recorded = place.run(all_kinds)
    assert recorded.told[2:-2] == [
        ("debug", "a\n1\nNone"),
        ("result", '{"str": "one"}'),
        ("result", '{"dict": {"two": 2}}'),
        ("action", '{"str": "act"}'),
        ("action", '{"__list__": [{"int": 1}, {"str": "b"}]}'),
        ("result", '{"Markdown": {"body": "# a\\n\\nb"}}'),
        ("result", '{"HTML": {"body": "<p>\\n</p>"}}'),
        ("result", '{"Text": {"body": "a\\nb"}}'),
        ("stderr", "careful\nnow"),
        ("progress", '{"dict": {"done": 1, "total": 3, "text": "first"}}'),
        ("progress", '{"dict": {"done": 2, "total": null, "text": null}}'),
    ]


def test_a_warning_can_bring_the_exception(place: Place) -> None:
    @flow
    def warns(tracer: Tracer) -> None:
        try:
            raise ValueError("no luck")
        except ValueError:
            tracer.warning("trouble", exc_info=True)

    (text,) = place.run(warns).of("stderr")
    assert text.startswith("trouble\nTraceback")
    assert text.endswith("ValueError: no luck")


RECORDING = ("debug", "result", "action", "markdown", "html", "text", "warning")


@pytest.mark.parametrize("name", [*RECORDING, "progress"])
async def test_recording_can_be_awaited_and_has_a_sync_name(name: str) -> None:
    mock = TracerMock()
    method, sync = getattr(mock, name), getattr(mock, f"{name}_sync")
    assert await method(1 if name == "progress" else "x") is None
    assert inspect.signature(method) == inspect.signature(sync)


async def test_an_event_is_recorded_at_the_call_though_not_awaited(place: Place) -> None:
    @flow
    async def calls(tracer: Tracer) -> None:
        never_awaited = tracer.debug("first")
        await tracer.debug("second")
        del never_awaited

    recorded = await place.run_async(calls)
    assert recorded.of("debug") == ["first", "second"]


async def test_flush_waits_until_everything_is_stored(place: Place) -> None:
    seen: list[int] = []

    @flow
    async def flushes(tracer: Tracer) -> None:
        for number in range(100):
            tracer.debug(f"{number}")
        assert await tracer.flush()
        seen.append(len(place.recorded(tracer.fid).of("debug")))
        tracer.debug("more")
        assert tracer.flush_sync()
        seen.append(len(place.recorded(tracer.fid).of("debug")))

    await place.run_async(flushes)
    assert seen == [100, 101]


def test_the_fid_is_the_root_flow_runs_id(place: Place) -> None:
    fids: list[str] = []

    @flow
    def child(tracer: Tracer) -> None:
        fids.append(tracer.fid)

    @flow
    def root(tracer: Tracer) -> None:
        fids.append(tracer.fid)
        fids.append(kodosumi_prefect.tracer.fid)
        child()

    recorded = place.run(root)
    assert fids == [recorded.fid] * 3


def test_a_pickled_tracer_names_only_places_that_older_images_have() -> None:
    pickled = pickle.dumps(Tracer(Scope("00000000-0000-0000-0000-000000000000")), protocol=0)
    operations = pickletools.genops(pickled)
    names = {argument for operation, argument, _ in operations if operation.name == "GLOBAL"}
    ours = {name for name in names if str(name).startswith("kodosumi_prefect")}
    assert ours == {"kodosumi_prefect.tracer _arrive", "kodosumi_prefect.tracer Scope"}


def test_a_pickled_tracer_holds_no_secret(place: Place) -> None:
    pickles: list[bytes] = []

    @flow
    def pickles_it(tracer: Tracer) -> None:
        tracer.debug("in use")
        pickles.append(pickle.dumps(tracer))
        pickles.append(pickle.dumps(kodosumi_prefect.tracer))

    recorded = place.run(pickles_it)
    for pickled in pickles:
        assert recorded.fid.encode() in pickled
        assert b"postgres" not in pickled
        # The panel's address goes along, and a token that is good for this run alone.
        assert pickled.count(b"127.0.0.1") <= 1
        assert str(run_key(place.settings)).encode() not in pickled
        assert str(place.settings.data_dir).encode() not in pickled
        assert pickle.loads(pickled).fid == recorded.fid


def test_a_tracer_that_travelled_writes_into_its_run(place: Place) -> None:
    @flow
    def travels(tracer: Tracer) -> None:
        pickle.loads(pickle.dumps(tracer)).debug("from afar")

    assert place.run(travels).of("debug") == ["from afar"]


def test_a_kept_tracer_writes_into_its_own_run_not_the_callers(place: Place) -> None:
    kept: list[Tracer] = []

    @flow
    def keeps(tracer: Tracer) -> None:
        kept.append(tracer)

    @flow
    def uses(tracer: Tracer) -> None:
        kept[0].debug("to the first")
        tracer.debug("to the second")

    first = place.run(keeps)
    second = place.run(uses)
    assert second.of("debug") == ["to the second"]
    kept[0].flush_sync()
    late = place.recorded(first.fid)
    assert late.of("debug") == ["to the first"]
    assert late.events[-1].source["late"]
    assert late.row["status"] == "finished"


def test_outside_of_runs_the_current_tracer_says_so() -> None:
    with pytest.raises(NoRunError, match="outside of a flow run"):
        tracer.debug("unheard")
    assert repr(tracer) == "Tracer(outside of runs)"


async def test_what_is_not_there_yet_says_so() -> None:
    with pytest.raises(KodosumiError, match="files are not supported"):
        await TracerMock().fs()
    with pytest.raises(KodosumiError, match="files are not supported"):
        TracerMock().fs_sync()


async def test_the_mock_prints_what_it_gets(capsys: pytest.CaptureFixture[str]) -> None:
    mock = TracerMock()
    await mock.debug("hello")
    mock.result({"a": 1})
    assert await mock.flush()
    assert capsys.readouterr().out.splitlines() == ["debug: hello", 'result: {"dict": {"a": 1}}']


def test_the_current_tracer_works_in_plain_flows_and_tasks(place: Place) -> None:
    @prefect.task
    def work(number: int) -> None:
        tracer.debug(f"task {number}")
        print(f"printed {number}")

    @prefect.flow(task_runner=ThreadPoolTaskRunner(max_workers=2))
    def plain(numbers: list[int]) -> str:
        tracer.markdown("begun")
        work.map(numbers).wait()
        return "result"

    recorded = place.run(plain, [1, 2])
    assert recorded.events[1].value == {"numbers": [1, 2]}
    assert sorted(recorded.of("debug")) == ["task 1", "task 2"]
    assert sorted(recorded.of("stdout")) == ["printed 1", "printed 2"]
    assert all(e.source["task_run"]["name"].startswith("work") for e in recorded.events[5:-2])
    assert recorded.final == {"str": "result"}


def test_a_plain_flow_whose_task_speaks_first_is_recorded(place: Place) -> None:
    @prefect.task
    def speaks() -> None:
        tracer.debug("first word")

    @prefect.flow(task_runner=ThreadPoolTaskRunner())
    def silent() -> str:
        speaks.submit().wait()
        return "result"

    recorded = place.run(silent)
    assert recorded.of("debug") == ["first word"]
    assert recorded.of("status") == ["starting", "running", "finished"]


def test_a_plain_flow_that_fails_is_recorded(place: Place) -> None:
    @prefect.flow
    def plain_fails() -> None:
        tracer.debug("trying")
        raise ValueError("no luck")

    recorded = place.run(plain_fails)
    assert recorded.row["status"] == "error"
    assert recorded.row["error"] == "ValueError: no luck"
    assert recorded.of("error")[0].startswith("Traceback")


@pytest.mark.parametrize("blocked", [True, False], ids=["ray-missing", "ray-installed"])
def test_a_flow_without_ray_tasks_works_and_imports_no_ray(place: Place, blocked: bool) -> None:
    done = place.call("script_without_ray.py", *(["blocked"] if blocked else []))
    assert done.returncode == 0, done.stderr
    lines = done.stdout.splitlines()
    plain, ours = (line.split()[1] for line in lines if line.startswith("fid"))
    recorded = place.recorded(plain)
    assert recorded.of("debug") == ["plain begins", "working on 7"]
    assert recorded.of("stdout") == ["printed 7"]
    assert recorded.final == {"int": 7}
    recorded = place.recorded(ours)
    assert recorded.of("debug") == (["working on 8"] if blocked else [])
    assert recorded.final == {"int": 8}
    assert "ray not loaded" in lines


def test_what_prefect_runs_here_is_asked_before_what_a_ray_worker_remembers() -> None:
    assert capture.owners == [only_live, bound_scope]
    assert finders == [only_live, find_scope, bound_scope]
