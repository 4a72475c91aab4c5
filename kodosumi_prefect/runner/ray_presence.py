"""Whether Ray answers a worker, and which nodes its cluster has."""

import logging
import time
from collections.abc import Callable, Coroutine
from typing import Any

from kodosumi_prefect.runner.aside import aside
from kodosumi_prefect.runner.cluster import Cluster
from kodosumi_prefect.runner.ray_connection import NoRayError, keep_sigterm

RAY_ANSWER_SECONDS = 60.0  # seconds that runs stay scheduled while Ray does not answer
LOOK_EVERY = 10.0  # seconds between reads of the cluster's nodes
MOST_NODES = 100  # that are reported


class RayPresence:
    """Ray, as a worker finds it.

    Arguments:
        cluster: where Runners are.
        start: starts a coroutine that lives as long as the worker.
        logger: gives the worker's, which Prefect replaces once the worker is known to it.

    Attributes:
        away_since: when Ray did not answer any more; None while it does.
        nodes: of the cluster, as last read.
        used: how much of its resources is taken, by name.
    """

    def __init__(
        self,
        cluster: Cluster,
        start: Callable[[Coroutine[Any, Any, None]], object],
        logger: "Callable[[], logging.Logger | logging.LoggerAdapter[logging.Logger]]",
    ) -> None:
        self._cluster = cluster
        self._start = start
        self._logger = logger
        self.away_since: float | None = None
        self.nodes: list[dict[str, Any]] = []
        self.used: dict[str, float] = {}
        self._looked_at = float("-inf")
        self._connected = False

    async def answers(self) -> bool:
        """Whether Ray answers; after a while without it runs are begun all the same, and fail.

        A Ray head that is being restarted at night must not fail what is due then.

        Raises:
            LostError: it was restarted since this process connected to it.
        """
        try:
            await aside(self._cluster.connect)
            await aside(self._cluster.check)
        except NoRayError as exc:
            now = time.monotonic()
            if self.away_since is None:
                self.away_since = now
                self._logger().warning(
                    "Ray does not answer yet; runs wait up to %.0f s for it: %s",
                    RAY_ANSWER_SECONDS,
                    exc,
                )
            return now - self.away_since > RAY_ANSWER_SECONDS
        if not self._connected:
            self._connected = True
            keep_sigterm()
        if self.away_since is not None:
            self._logger().info("Ray answers now")
        self.away_since = None
        if time.monotonic() - self._looked_at > LOOK_EVERY:
            self._looked_at = time.monotonic()
            self._start(self._look_at_nodes())
        return True

    async def _look_at_nodes(self) -> None:
        """For people who want to see the cluster; nothing waits for it."""
        self.nodes = (await aside(self._cluster.nodes))[:MOST_NODES]
        self.used = await aside(self._cluster.used)
