"""Code that a ``runtime_env`` brings to the cluster."""

from tests.faults.pool import Pool

CODE = """
from pathlib import Path
from beside_it import WORD
from kodosumi_prefect import flow
from prefect import task

@task
def on_another_process() -> str:
    return WORD

@flow
def reads() -> list[str]:
    from imported_late import late

    words = [Path("data.txt").read_text(), WORD, on_another_process.submit().result()]
    return [*words, task(late).submit().result()]
"""


def test_a_file_in_a_working_dir_is_run_where_it_lies(shared_pool: Pool):
    folder = shared_pool.folder / "project"
    (folder / "flows").mkdir(parents=True)
    (folder / "flows" / "afar.py").write_text(CODE)
    (folder / "flows" / "beside_it.py").write_text('WORD = "beside"\n')
    (folder / "flows" / "imported_late.py").write_text("def late() -> str:\n    return 'late'\n")
    (folder / "data.txt").write_text("data")
    deployment = shared_pool.deployment(
        f"{folder / 'flows' / 'afar.py'}:reads",
        entrypoint="flows/afar.py:reads",
        pull_steps=[{"prefect.deployments.steps.set_working_directory": {"directory": "."}}],
    )
    run = shared_pool.run_deployment(deployment, {}, runtime_env={"working_dir": str(folder)})
    words = [{"str": word} for word in ("data", "beside", "beside", "late")]
    assert run.ended(60).final == {"__list__": words}
