"""The Runner: a detached Ray actor that executes one flow run and ends."""

import importlib
import os
import platform
import signal
import threading
import time
from importlib.metadata import version

from kodosumi_prefect.runner.order import Facts, Order, Outcome
from kodosumi_prefect.settings import VERSION

# Imported before there is work. No user code may ever be imported here.
AHEAD = (
    "kodosumi_prefect.runner.execute",
    "kodosumi_prefect.flow",
    "prefect.deployments.steps.core",
    "prefect.deployments.steps.pull",
    "prefect.filesystems",
    "prefect.runtime",
)
FAREWELL = 5.0  # seconds after a run in which the worker may fetch the outcome


class Runner:
    """Executes one flow run in the main thread of its own process.

    A plain actor without concurrency: Prefect's timeouts and cancellation work by signals, which
    only the main thread gets. A warm Runner waits for its order with Prefect imported; it ends
    by itself once its worker has not renewed its claim.

    Arguments:
        claim_seconds: until it ends unless its worker renews the claim.
    """

    def __init__(self, claim_seconds: float) -> None:
        for name in AHEAD:
            importlib.import_module(name)
        from prefect.logging.configuration import setup_logging

        setup_logging()
        self._lock = threading.Lock()
        self._busy = False
        self._until = time.monotonic() + claim_seconds
        threading.Thread(target=self._end_unclaimed, name="kodosumi-claim", daemon=True).start()

    def hello(self, claim_seconds: float) -> Facts:
        """Who this is; renews the claim on a Runner that waits.

        Called during a run, it never answers: the actor ends with its run.
        """
        self._until = time.monotonic() + claim_seconds
        import ray

        return Facts(
            ray.get_runtime_context().get_node_id(),
            platform.node(),
            os.getpid(),
            {
                "kodosumi-prefect": VERSION,
                "prefect": version("prefect"),
                "ray": ray.__version__,
                "python": ".".join(platform.python_version_tuple()[:2]),
            },
        )

    def run(self, order: Order) -> Outcome:
        """Execute a flow run; the process ends soon after."""
        from kodosumi_prefect.runner.execute import execute

        with self._lock:
            self._busy = True
        try:
            return execute(order)
        finally:
            # Ray's own way to leave an actor would take the outcome with it.
            leaving = threading.Timer(FAREWELL, os.kill, (os.getpid(), signal.SIGTERM))
            leaving.daemon = True
            leaving.start()

    def _end_unclaimed(self) -> None:
        while True:
            time.sleep(min(max(self._until - time.monotonic(), 0.1), 5.0))
            with self._lock:
                if self._busy:
                    return
                if time.monotonic() >= self._until:
                    os._exit(0)  # nothing was begun, nothing is lost
