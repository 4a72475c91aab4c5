"""Runs that somebody has run again the moment they failed."""

from tests.faults.pool import Pool

CODE = """
from pathlib import Path
from kodosumi_prefect import flow

@flow
def third_time_lucky(folder: str) -> str:
    tries = len(list(Path(folder).glob("try-*")))
    Path(folder, f"try-{tries}").touch()
    if tries < 3:
        raise ValueError(f"try {tries}")
    return "at last"
"""


def test_a_run_is_run_again_while_its_last_attempt_is_still_being_put_away(shared_pool: Pool):
    file = shared_pool.folder / "lucky.py"
    file.write_text(CODE)
    tries = shared_pool.folder / "tries"
    tries.mkdir()
    run = shared_pool.run(f"{file}:third_time_lucky", {"folder": str(tries)})
    for _ in range(3):
        run.until("Failed", seconds=60)
        run.set_state("SCHEDULED", "AwaitingRetry")
    run.until("Completed", seconds=60)
    found = run.ended()
    assert found.final == {"str": "at last"}
    assert len(list(tries.iterdir())) == 4
    failed = [line.splitlines()[-1] for line in found.of("error")]
    assert failed == [f"ValueError: try {number}" for number in range(3)]
    assert found.row["attempt"] == 4
