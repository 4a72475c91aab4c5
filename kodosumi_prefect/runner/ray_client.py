"""What a process must do before it connects to the Ray of this data dir."""

import os
import sys

from kodosumi_prefect._compat.ray import reread_environment
from kodosumi_prefect.settings import Settings, read_address

# Ray replaces 127.0.0.1 by the machine's outward address unless it believes that clusters of
# several nodes are impossible here. Its processes and its clients must agree on that.
LOOPBACK_ONLY = {"RAY_ENABLE_WINDOWS_OR_OSX_CLUSTER": "0"}

# Messages of Ray Client's proxy when the server that it forks for each client died at once.
_STILLBORN = (
    "Starting Ray client server failed",
    "Proxy failed to Connect to backend",
    "psutil.ZombieProcess",
    "psutil.NoSuchProcess",
)


def ray_client_environment(settings: Settings) -> dict[str, str]:
    """Environment that a process needs before it imports Ray, to join the recorded cluster.

    Empty if ``ray_address`` is configured (then that cluster's own way counts) or no cluster is
    recorded for the data dir.
    """
    if settings.ray_address is not None or (recorded := read_address(settings, "ray")) is None:
        return {}
    return token_environment(str(recorded["token_path"]))


def token_environment(token_path: str) -> dict[str, str]:
    """The same for a token file that is known."""
    # A token in RAY_AUTH_TOKEN would win over the file; empty counts as unset.
    return {
        "RAY_AUTH_MODE": "token",
        "RAY_AUTH_TOKEN": "",
        "RAY_AUTH_TOKEN_PATH": token_path,
        **LOOPBACK_ONLY,
    }


def is_stillborn(error: str) -> bool:
    """Whether this error of ``ray.init("ray://…")`` is worth another try.

    Ray Client's proxy forks a server for each client while its gRPC threads run; now and then that
    process dies as it is forked (ray-project/ray issue 63202), and the next one lives.
    """
    return any(words in error for words in _STILLBORN)


def prepare_ray_client(settings: Settings) -> None:
    """Let this process join the recorded cluster with ``ray.init``, also if Ray is imported.

    Call it before ``ray.init``, and not while this process is connected to another cluster.
    """
    environment = ray_client_environment(settings)
    if not environment:
        return
    os.environ.update(environment)
    if "ray" in sys.modules:
        reread_environment()
