"""The Runner: a detached Ray actor that has flow runs executed, one at a time."""

import logging
import os
import platform
import threading
import time
from concurrent.futures import Future
from importlib.metadata import version
from typing import Any

from kodosumi_prefect.process.environment import own_environment
from kodosumi_prefect.process.nursery import NoNurseryError, Nursery, serves
from kodosumi_prefect.process.order import Facts, Order, Outcome
from kodosumi_prefect.process.supervision import Supervision

FAREWELL = 5.0  # seconds after a run in which its worker may fetch the outcome, or keep the Runner
logger = logging.getLogger(__name__)

CONTROL = "control"  # the concurrency group of what is answered while a run is under way


class Runner:
    """Supervises the process of a flow run. It holds neither Prefect nor code of anybody's.

    ``hello`` and ``run`` are called one after the other: whoever says hello during a run hears of
    its end. A Runner that waits for an order ends by itself once its worker has not renewed its
    claim; so does one whose run is over.

    Arguments:
        claim_seconds: until it ends unless its worker renews the claim.
    """

    def __init__(self, claim_seconds: float) -> None:
        self._lock = threading.Lock()
        self._at_work = False
        self._supervision: Supervision | None = None
        self._until = time.monotonic() + claim_seconds
        threading.Thread(target=self._end_unclaimed, name="kodosumi-claim", daemon=True).start()
        self._prepare()

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
                "kodosumi-prefect": version("kodosumi-prefect"),
                "prefect": version("prefect"),
                "ray": ray.__version__,
                "python": ".".join(platform.python_version_tuple()[:2]),
            },
        )

    def run(self, order: Order) -> Outcome:
        """Have a flow run executed; the process ends soon after, unless it is claimed again."""
        with self._lock:
            self._at_work = True  # a nursery that is started now may take longer than the claim
        try:
            return self._run(order)
        finally:
            with self._lock:
                self._at_work, self._supervision = False, None
                self._until = time.monotonic() + FAREWELL

    def _run(self, order: Order) -> Outcome:
        import ray

        context: Any = ray.get_runtime_context()
        nursery = self._nursery.result()
        supervision = Supervision(
            order._replace(
                ray_address=context.gcs_address, runtime_env=dict(context.runtime_env) or None
            ),
            nursery,
        )
        with self._lock:
            self._supervision = supervision
        try:
            return supervision.run()
        finally:
            if nursery is not None and nursery.lost:
                self._prepare()

    def end(self, why: str, flow_run_id: str) -> bool:
        """End a run's process now, as ``Supervision.end``; answered while a run is under way."""
        supervision = self._supervision
        if supervision is None or supervision.flow_run_id != flow_run_id:
            return False
        return supervision.end(why)

    def _prepare(self) -> None:
        """Have the node's nursery ready for the next run; it may take seconds to start."""
        self._nursery: Future[Nursery | None] = Future()
        threading.Thread(target=self._reach_nursery, name="kodosumi-nursery", daemon=True).start()

    def _reach_nursery(self) -> None:
        import ray

        nursery: Nursery | None = None
        try:
            context: Any = ray.get_runtime_context()
            if serves(context.runtime_env):
                nursery = Nursery.reach(own_environment(), context.gcs_address)
        except NoNurseryError as exc:
            logger.warning("runs here start more slowly, without a nursery: %s", exc)
        finally:
            self._nursery.set_result(nursery)

    def _end_unclaimed(self) -> None:
        while True:
            time.sleep(min(max(self._until - time.monotonic(), 0.1), 5.0))
            with self._lock:
                if self._unclaimed:
                    os._exit(0)  # nothing is under way, nothing is lost

    @property
    def _unclaimed(self) -> bool:
        return not self._at_work and time.monotonic() >= self._until
