"""What services import, and from where it is imported for them."""

import sys
from pathlib import Path

import pytest

from kodosumi_prefect import core, dtypes, response, serve
from kodosumi_prefect.adapter import by_value
from kodosumi_prefect.launch.entrypoint import _load
from kodosumi_prefect.runner import tracer as runner_tracer
from kodosumi_prefect.tracer import Tracer


def test_the_paths_that_published_services_import_lead_to_ours() -> None:
    assert runner_tracer.Tracer is Tracer
    assert serve.ServeAPI is core.ServeAPI
    assert serve.Launch is core.Launch
    assert serve.Templates is core.Templates
    assert dtypes.Markdown(body="# one") == response.Markdown("# one")
    assert dtypes.HTML(body="<b>") == response.HTML("<b>")
    assert dtypes.Text(body="t") == response.Text("t")
    with pytest.raises(AttributeError, match="nothing_like_it"):
        serve.nothing_like_it


def test_a_folder_of_the_same_name_elsewhere_does_not_hide_the_service(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "elsewhere" / "checks_of_a_service").mkdir(parents=True)
    package = tmp_path / "service" / "checks_of_a_service"
    package.mkdir(parents=True)
    (package / "__init__.py").touch()
    (package / "work.py").write_text("def run(inputs):\n    return 'ran'\n")
    monkeypatch.setattr(sys, "path", [str(tmp_path / "elsewhere"), *sys.path])
    monkeypatch.setattr(by_value, "code_folders", [])
    target = _load("checks_of_a_service.work:run", [str(tmp_path / "service")])
    assert target({}) == "ran"
