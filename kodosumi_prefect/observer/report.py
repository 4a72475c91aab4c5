"""What observers report about themselves in the table ``service``."""

import json
import os
import platform
from typing import Any

from kodosumi_prefect.database.rows.system import Service
from kodosumi_prefect.settings import VERSION
from kodosumi_prefect.stream.reader import Reader

EVERY = 5.0  # seconds
KIND = "observer"


class Report:
    """Reports that this observer runs, whether it leads, and how far behind it is."""

    def __init__(self, reader: Reader) -> None:
        self._reader = reader
        self.name = f"{platform.node()}:{os.getpid()}"

    async def say(self, **info: Any) -> None:
        """Report now; ``info`` is JSON: ``leader``, ``lag`` and ``occurred`` in seconds."""
        await self._reader.execute(
            "report_service",
            kind=KIND,
            name=self.name,
            host=platform.node(),
            pid=os.getpid(),
            version=VERSION,
            info=json.dumps(info),
        )

    async def end(self) -> None:
        """This observer ends as requested."""
        await self._reader.execute("forget_service", kind=KIND, name=self.name, pid=os.getpid())

    async def handled(self) -> float | None:
        """Epoch seconds of the last event that any observer handled, as far as reported."""
        services = await self._reader.rows_of(Service, "services")
        moments = [service.info.get("occurred") for service in services if service.kind == KIND]
        return max((moment for moment in moments if moment is not None), default=None)
