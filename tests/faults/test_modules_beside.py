"""Modules beside a flow's file reach its Ray tasks, whoever runs them and whenever they import."""

from pathlib import Path

import pytest

from tests.faults.pool import Pool, Run

CODE = """
import ray
from parts.beside import WORD
from prefect import flow, task
from prefect_ray import RayTaskRunner as Plain

from kodosumi_prefect.task_runner import RayTaskRunner

@task
def lazily() -> str:
    import lazily_beside
    from parts.beside import WORD
    return lazily_beside.WORD + WORD

@ray.remote(num_cpus=0)
def natively() -> str:
    import lazily_beside
    return lazily_beside.WORD + WORD

@flow(task_runner=RayTaskRunner(options={"num_cpus": 0}), persist_result=True)
def ours(notes: str) -> None:
    note(notes, lazily.submit().result())
    note(notes, ray.get(natively.remote()))

@flow(task_runner=Plain(), persist_result=True)
def plain(notes: str) -> None:
    note(notes, lazily.submit().result())

def note(notes: str, word: str) -> None:
    with open(notes, "a") as file:
        file.write(f"word {word}\\n")
"""


def write(folder: Path, word: str) -> None:
    (folder / "parts").mkdir(parents=True)
    (folder / "flows.py").write_text(CODE)
    (folder / "lazily_beside.py").write_text(f'WORD = "{word}"\n')
    (folder / "parts" / "beside.py").write_text(f'WORD = " beside {word}"\n')


@pytest.fixture(scope="module")
def runs(shared_pool: Pool) -> dict[str, Run]:
    """Runs with other modules of the same names, all at once."""
    made = {}
    for word, flow in (("one", "ours"), ("two", "ours"), ("three", "plain")):
        folder = shared_pool.folder / word
        write(folder, word)
        notes = folder / "notes"
        deployment = shared_pool.deployment(f"{folder / 'flows.py'}:{flow}")
        made[word] = shared_pool.run_deployment(deployment, {"notes": str(notes)}, notes)
    return made


@pytest.mark.parametrize(("word", "times"), [("one", 2), ("two", 2), ("three", 1)])
def test_tasks_import_the_modules_of_their_own_run(
    runs: dict[str, Run], word: str, times: int
) -> None:
    run = runs[word]
    run.until("Completed", seconds=90)
    assert run.noted("word") == [f"word {word} beside {word}"] * times
