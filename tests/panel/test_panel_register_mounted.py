"""Services that the panel runs itself, in the register."""

import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from kodosumi_prefect.settings import Settings
from tests.panel.panel_runs import serving, until
from tests.panel.registering import listed, trouble

MODULE = """
import contextlib
from kodosumi_prefect.core import Launch, ServeAPI, forms as F

log = []

@contextlib.asynccontextmanager
async def lifespan(app):
    log.append("started")
    yield
    log.append("ended")

app = ServeAPI(title="Mounted", lifespan=lifespan)

@app.enter("/", model=F.Model(F.InputText("name", "Name")), summary="Mounted", tags=["near"])
def enter(inputs):
    log.append(inputs)
"""


@pytest.fixture
def module(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Callable[[str, str], str]]:
    """Write a module into the current folder; its name."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "path", [*sys.path])
    written: list[str] = []

    def write(name: str, text: str) -> str:
        (tmp_path / f"{name}.py").write_text(text)
        written.append(name)
        return name

    yield write
    for name in written:
        sys.modules.pop(name, None)


def test_a_mounted_service_is_there_from_the_start(
    settings: Settings, module: Callable[[str, str], str]
):
    module("mounted_one", MODULE)
    name = "mounted_one:app"
    with serving(settings.model_copy(update={"services": [name, name]})) as panel:
        [found] = listed(panel)
        assert found["url"] == "/-/panel/0/mounted_one:app/-/"
        assert (found["kind"], found["source"], found["tags"]) == ("mounted", name, ["near"])
        assert found["base_url"] == "/-/panel/0/mounted_one:app"
        assert sys.modules["mounted_one"].log == ["started"]
        answer = panel.client.post("/flow/unregister", json={"url": name})
        assert answer.status_code == 409 and "services" in answer.text
    assert sys.modules["mounted_one"].log == ["started", "ended"]
    # A panel without it keeps the endpoint, and says what is missing.
    with serving(settings.model_copy(update={"register_interval": 0.1})) as panel:
        until(lambda: [each["reachable"] for each in listed(panel)] == [False])
        assert "no panel runs this service" in str(trouble(panel, name))
        assert panel.get(found["url"]).status_code == 502
        assert panel.client.post("/flow/unregister", json={"url": name}).status_code == 200
        assert listed(panel) == []


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("import no_such_module_here", "no_such_module_here"),
        ("1 / 0", "ZeroDivisionError"),
        ("raise SystemExit('no key')", "no key"),
        ("def broken(", "SyntaxError"),
        ("other = 1", "app"),
        ("app = 7", "int"),
        (
            "from fastapi import FastAPI\n"
            "async def fails(app):\n    raise ValueError('no model here')\n    yield\n"
            "app = FastAPI(lifespan=fails)",
            "no model here",
        ),
    ],
)
def test_a_service_that_cannot_be_mounted_is_told_and_left_out(
    settings: Settings,
    module: Callable[[str, str], str],
    caplog: pytest.LogCaptureFixture,
    text: str,
    said: str,
):
    module("mounted_bad", text)
    module("mounted_good", MODULE)
    names = ["mounted_bad:app", "mounted_good:app"]
    with serving(settings.model_copy(update={"services": names})) as panel:
        assert [found["source"] for found in listed(panel)] == ["mounted_good:app"]
        assert said in str(trouble(panel, "mounted_bad:app"))
    told = [r.getMessage() for r in caplog.records if "mounted_bad" in r.getMessage()]
    assert any(said in line for line in told)
    assert all("\n" not in line for line in told)


def test_a_service_must_be_named_as_module_and_app(settings: Settings):
    with serving(settings.model_copy(update={"services": ["nonsense"]})) as panel:
        assert "module:app" in str(trouble(panel, "nonsense"))
