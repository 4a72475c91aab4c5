"""Services that the panel runs itself, in the register."""

import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from kodosumi_prefect.panel.services import calls
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
    # A panel without it does not list what it could not call; the row stays for who mounts it.
    with serving(settings.model_copy(update={"register_interval": 0.1})) as panel:
        until(lambda: "no panel runs this service" in str(trouble(panel, name)))
        assert listed(panel) == [] and panel.json("/flow/tags") == {}
        assert panel.json("/flow/register")["routes"] == []
        assert "Mounted" not in panel.get("/services").text
        for path in (found["url"], f"/services/{found['uid']}"):
            assert panel.get(path).status_code == 404
        assert "start it with" in panel.get(found["url"]).json()["detail"]
    with serving(settings.model_copy(update={"services": [name]})) as panel:
        assert [each["uid"] for each in listed(panel)] == [found["uid"]]
        with serving(settings.model_copy(update={"register_interval": 0.1})) as other:
            assert listed(other) == []
            assert panel.client.put("/flow/register").status_code == 200
            assert [each["reachable"] for each in listed(panel)] == [True]
    with serving(settings) as panel:
        assert panel.client.post("/flow/unregister", json={"url": name}).status_code == 200
        assert panel.client.post("/flow/unregister", json={"url": name}).status_code == 404


def test_mounted_services_are_imported_one_after_the_other_in_their_order(
    settings: Settings, module: Callable[[str, str], str]
):
    module("mounted_turns", "log = []")
    names = [f"mounted_turn_{n}" for n in (3, 1, 2)]
    for name in names:
        module(
            name,
            "import threading, mounted_turns\n"
            "mounted_turns.log.append(('begins', __name__))\n"
            # Another import could come in between here, and would if it were under way.
            "threading.Event().wait(0.05)\n"
            f"{MODULE}\n"
            "mounted_turns.log.append(('ends', __name__))",
        )
    services = [f"{name}:app" for name in names]
    with serving(settings.model_copy(update={"services": services})) as panel:
        assert len(listed(panel)) == 3
    log = sys.modules["mounted_turns"].log
    assert log == [(word, name) for name in names for word in ("begins", "ends")]


def test_a_service_that_failed_is_named_everywhere_and_imported_anew_on_refresh(
    settings: Settings, module: Callable[[str, str], str], tmp_path: Path
):
    module("mounted_whole", MODULE)
    # A circle: Python takes `mounted_half` away when it fails, and leaves `mounted_other`, which
    # holds the half of it.
    module("mounted_half", "import mounted_other\nraise KeyError('no model here')")
    module("mounted_other", "import mounted_half\nknown = mounted_half")
    names = ["mounted_half:app", "mounted_whole:app"]
    with serving(settings.model_copy(update={"services": names})) as panel:
        flow = panel.json("/flow")
        assert flow["offset"] is None and len(flow["items"]) == 1
        assert flow["failed"].keys() == {"mounted_half:app"}
        assert "no model here" in flow["failed"]["mounted_half:app"]
        assert "no model here" in panel.get("/system").text
        assert panel.json("/readyz") | {"feed": "", "files": ""} == {
            "status": "ready",
            "feed": "",
            "files": "",
            "services": "1 of 2 services",
        }
        assert panel.get("/health").json()["services"]["failed"] == flow["failed"]
        whole = sys.modules["mounted_whole"]
        # Still broken: it is tried again, and says what is wrong now.
        (tmp_path / "mounted_half.py").write_text("import mounted_other\nraise KeyError('a key!')")
        assert panel.client.put("/flow/register").status_code == 200
        assert "a key!" in panel.json("/flow")["failed"]["mounted_half:app"]
        (tmp_path / "mounted_half.py").write_text(
            f"import mounted_other\n{MODULE}\nassert mounted_other.known.__name__ == __name__"
        )
        refreshed = panel.client.put("/flow/register").json()
        assert sorted(refreshed["connected"]) == names
        assert "failed" not in panel.json("/flow")
        assert {each["source"] for each in listed(panel)} == set(names)
        assert sys.modules["mounted_other"].known is sys.modules["mounted_half"]
        assert sys.modules["mounted_whole"] is whole and whole.log == ["started"]
        assert panel.json("/readyz")["services"] == "2 of 2 services"


def test_a_service_that_takes_its_time_hides_the_others_for_a_while_only(
    settings: Settings, module: Callable[[str, str], str], monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setattr(calls, "START_TIMEOUT", 0.3)
    module(
        "mounted_slow",
        f"import threading\ngo_on = threading.Event()\ngo_on.wait(60)\n{MODULE}",
    )
    module("mounted_quick", MODULE)
    names = ["mounted_slow:app", "mounted_quick:app"]
    with serving(settings.model_copy(update={"services": names})) as panel:
        until(lambda: [each["source"] for each in listed(panel)] == names[1:])
        assert "still starting" in panel.json("/flow")["failed"][names[0]]
        sys.modules["mounted_slow"].go_on.set()
        until(lambda: len(listed(panel)) == 2)
        assert "failed" not in panel.json("/flow")


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
