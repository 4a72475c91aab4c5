"""A stack that a test runs in its own process."""

import asyncio
from collections.abc import Callable

from kodosumi_prefect.settings import Settings
from kodosumi_prefect.stack import Stack


class Owner:
    """A stack in this process. It supervises only while ``run`` runs."""

    def __init__(self, settings: Settings, **arguments: object) -> None:
        self.said: list[tuple[str, str]] = []
        self.stack = Stack(
            settings,
            on_progress=lambda service, text: self.said.append((service, text)),
            **arguments,  # type: ignore[arg-type]
        )
        self._runner = asyncio.Runner()
        self.run = self._runner.run

    def until(self, condition: Callable[[], bool], seconds: float = 120) -> None:
        async def look() -> None:
            while not condition():  # noqa: ASYNC110
                await asyncio.sleep(0.05)

        self.run(asyncio.wait_for(look(), seconds))

    def close(self) -> None:
        self.run(self.stack.stop())
        self._runner.close()
