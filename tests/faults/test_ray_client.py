"""Ray Client's server for one client, which dies now and then as it is forked."""

import subprocess
import sys
from pathlib import Path

from kodosumi_prefect.settings import PREFIX
from kodosumi_prefect.stack.ray_head import plan_ray, ray_child
from tests.services import Place, served

# Ray's head imports it in each of its Python processes.
DYING_ONCE = """
import os, pathlib, sys

flag = pathlib.Path(__file__).with_name("die")
if "--mode=specific-server" in sys.orig_argv and flag.exists():
    flag.unlink()
    os._exit(1)
"""
JOIN = """
import logging
logging.basicConfig(level="WARNING")
import ray
from kodosumi_prefect.runner.ray_connection import connect_ray
from kodosumi_prefect.settings import get_settings

connect_ray(get_settings())
print(ray.get(ray.remote(lambda: 6 * 7).remote(), timeout=60))
"""


def test_a_client_whose_server_dies_as_it_starts_gets_another(shared_place: Place, tmp_path: Path):
    folder = tmp_path / "imported"
    folder.mkdir()
    (folder / "sitecustomize.py").write_text(DYING_ONCE)
    flag = folder / "die"
    flag.touch()
    settings = shared_place.settings.model_copy(update={"data_dir": tmp_path / "data"})
    settings.data_dir.mkdir()
    head = plan_ray(settings)
    # Ray waits this long for the server of which it knows that it died.
    brief = {"RAY_CLIENT_SERVER_CHECK_CHANNEL_TIMEOUT_S": "10", "PYTHONPATH": str(folder)}
    with served(ray_child(head, brief), settings.data_dir / "logs"):
        environment = shared_place.environment(
            **head.environment(),
            **{
                f"{PREFIX}DATA_DIR": str(settings.data_dir),
                f"{PREFIX}RAY_ADDRESS": f"ray://127.0.0.1:{head.client_port}",
            },
        )
        joined = subprocess.run(
            [sys.executable, "-c", JOIN],
            env=environment,
            capture_output=True,
            text=True,
            timeout=150,
        )
    assert joined.stdout.strip() == "42", joined.stderr
    assert "ended at once; asking for another (2 of 3)" in joined.stderr
    assert not flag.exists()
