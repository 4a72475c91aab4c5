"""What a command says of wrong settings: which one, and where it is set."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

from kodosumi_prefect.settings import PREFIX


@pytest.mark.parametrize(
    ("variables", "toml", "line"),
    [
        ({"PORT": "abc"}, "", f"port: .* (set by {PREFIX}PORT in the environment)"),
        ({}, 'retention_days = "x"', "retention_days: .* (set by prefect.toml)"),
        (
            {"DATABASE_URL": "mysql://a:hidden@b/c"},
            'port = "4"',
            f"database_url has .* (set by {PREFIX}DATABASE_URL in the environment)",
        ),
    ],
)
def test_a_wrong_setting_is_named_with_where_it_is_set(
    tmp_path: Path, variables: dict[str, str], toml: str, line: str
) -> None:
    (tmp_path / "prefect.toml").write_text(f"[integrations.kodosumi]\n{toml}\n")
    kept = {name: value for name, value in os.environ.items() if not name.startswith("PREFECT_")}
    done = subprocess.run(
        [sys.executable, "-m", "kodosumi_prefect.cli", "runs"],
        env=kept | {f"{PREFIX}{name}": value for name, value in variables.items()},
        cwd=tmp_path,
        capture_output=True,
        text=True,
        timeout=60,
    )
    before, _, after = line.partition(" .* ")
    [told] = done.stderr.splitlines()
    assert told.startswith(before) and told.endswith(after)
    assert "hidden" not in told
    assert done.returncode == 1
