"""What is installed from the wheel: example flows, the demo, a project to begin with."""

import re
import shutil
import subprocess
import sys
import sysconfig
import venv
from collections.abc import Iterator
from pathlib import Path

import pytest

from kodosumi_prefect.stack.embedded_postgres import EmbeddedPostgres
from tests.e2e.running import REPOSITORY, clean_environment

pytestmark = pytest.mark.stack


def run(*words: str | Path, cwd: Path, seconds: float = 240) -> "subprocess.CompletedProcess[str]":
    done = subprocess.run(
        list(map(str, words)),
        env=clean_environment() | {"PREFECT_HOME": str(cwd / "client")},
        cwd=cwd,
        capture_output=True,
        text=True,
        timeout=seconds,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    return done


@pytest.fixture(scope="module")
def programs(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """The programs of an environment in which the wheel is installed, and nothing of the clone.

    It is built of what the image's Dockerfile copies before it builds. What the project depends
    on is there by a path: only the wheel is what is tried.
    """
    folder = tmp_path_factory.mktemp("wheel")
    copied = folder / "copied"
    copied.mkdir()
    dockerfile = (REPOSITORY / "deployments" / "Dockerfile").read_text()
    before, _, _ = dockerfile.partition("RUN pip install")
    for line in re.findall(r"^COPY (.+)", before, re.MULTILINE):
        *sources, _ = line.split()
        for source in sources:
            path = REPOSITORY / source
            copy = shutil.copytree if path.is_dir() else shutil.copy
            copy(path, copied / source)
    pip = [sys.executable, "-m", "pip", "--disable-pip-version-check", "--quiet"]
    build = ["wheel", "--no-deps", "--no-build-isolation", "--wheel-dir", folder, copied]
    run(*pip, *build, cwd=folder)
    [wheel] = folder.glob("kodosumi_prefect-*.whl")
    venv.create(folder / "env", symlinks=True)
    bin_ = folder / "env" / "bin"
    run(*pip, "--python", bin_ / "python", "install", "--no-deps", wheel, cwd=folder)
    site = sysconfig.get_path("purelib", vars={"base": str(folder / "env")})
    (Path(site) / "dependencies.pth").write_text(sysconfig.get_path("purelib") + "\n")
    where = run(bin_ / "python", "-c", "import kodosumi_prefect as k; print(k)", cwd=folder)
    assert str(folder) in where.stdout
    yield bin_


def test_the_demo_prints_the_streamed_events_and_the_right_answer(
    programs: Path, tmp_path: Path
) -> None:
    try:
        done = run(programs / "kodosumi-prefect", "demo", "--data-dir", tmp_path, cwd=tmp_path)
    finally:
        EmbeddedPostgres(tmp_path).destroy()
    assert "78,498 primes below 1,000,000: right" in done.stdout
    assert "progress" in done.stdout


def test_init_makes_a_project_whose_tests_pass(programs: Path, tmp_path: Path) -> None:
    project = tmp_path / "my agents"
    done = run(programs / "kodosumi-prefect", "init", project, cwd=tmp_path)
    assert f"cd '{project}' && kodosumi-prefect up --service word_report:app" in done.stdout
    assert "prefect deployment run word-report/weekdays" in done.stdout
    run(programs / "python", "-m", "pytest", "-q", cwd=project)
    again = subprocess.run(
        [programs / "kodosumi-prefect", "init", project], capture_output=True, text=True
    )
    assert again.returncode == 1
    assert "word_report.py is there already" in again.stderr


def test_the_example_flows_are_in_the_wheel(programs: Path, tmp_path: Path) -> None:
    modules = ("prime_gaps", "nightly_report", "document_digest", "review")
    imports = "; ".join(f"import kodosumi_prefect.examples.{module}" for module in modules)
    run(programs / "python", "-c", imports, cwd=tmp_path)
