"""``TracerMock``: an entrypoint run by hand, without Prefect or Postgres."""

import inspect
import io
import pickle
import sys

import pytest

from kodosumi_prefect.core import KodosumiError, Tracer, TracerMock, response


@pytest.fixture(autouse=True)
def alone(monkeypatch: pytest.MonkeyPatch) -> None:
    """Nothing may be looked for outside of the process."""

    def unwanted(*args: object) -> None:
        raise AssertionError("a mock has no spool client")

    # By name the package has the current run's tracer.
    monkeypatch.setattr(sys.modules["kodosumi_prefect.tracer"], "get_client", unwanted)


async def entrypoint(inputs: dict[str, str], tracer: Tracer) -> response.Markdown:
    await tracer.debug("begun", "really")
    await tracer.markdown("# Hello", f"*{inputs['name']}*")
    await tracer.html("<b>b</b>", "<i>i</i>")
    await tracer.text("plain", "text")
    await tracer.result({"a": 1}, "two")
    await tracer.action("did")
    await tracer.warning("careful")
    await tracer.progress(1, 2, "half")
    await tracer.flush()
    answer = await tracer.lock("fine", data={"draft": 1})
    return response.Markdown(f"answered {answer}")


SAID = """\
debug: begun
really
result: # Hello

*Ö*
result: <b>b</b>
<i>i</i>
result: plain
text
result: {"dict": {"a": 1}}
result: two
action: did
stderr: careful
progress: {"dict": {"done": 1, "total": 2, "text": "half"}}
lock: fine {"dict": {"draft": 1}}
"""


async def test_an_entrypoint_is_run_by_hand(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr("sys.stdin", io.StringIO("yes\n"))
    result = await entrypoint({"name": "Ö"}, TracerMock())
    assert result.body == "answered yes"
    assert capsys.readouterr().out.startswith(SAID)


@pytest.mark.parametrize(
    "name", ["debug", "result", "action", "markdown", "html", "text", "warning"]
)
async def test_each_method_prints_with_and_without_await(
    name: str, capsys: pytest.CaptureFixture[str]
) -> None:
    mock = TracerMock()
    await getattr(mock, name)("said so")
    getattr(mock, name)("said so")
    getattr(mock, f"{name}_sync")("said so")
    assert capsys.readouterr().out.count(": said so\n") == 3


async def test_the_mock_has_all_that_tracers_have(monkeypatch: pytest.MonkeyPatch) -> None:
    mock = TracerMock()
    for name, method in inspect.getmembers(Tracer, inspect.isfunction):
        if not name.startswith("_"):
            own = inspect.signature(getattr(mock, name)).parameters
            assert [*own] == [*inspect.signature(method).parameters][1:]
    monkeypatch.setattr("sys.stdin", io.StringIO('{"a": 1}\n2\n'))
    assert mock.lock_sync("x") == {"a": 1}
    assert await mock.lock("x", timeout=1) == 2
    assert mock.flush_sync() and mock.fid
    for unsupported in (mock.fs_sync, mock.fs):
        with pytest.raises(KodosumiError, match="files are not supported"):
            found = unsupported()
            if inspect.isawaitable(found):
                await found
    assert isinstance(pickle.loads(pickle.dumps(mock)), TracerMock)
