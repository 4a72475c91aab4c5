"""``drain``: a worker ends without breaking off what it runs."""

import asyncio
import time

from kodosumi_prefect.cli.output import CommandError, console, require_database
from kodosumi_prefect.database import channels
from kodosumi_prefect.database.rows.system import Service
from kodosumi_prefect.database.worker_messages import Message
from kodosumi_prefect.settings import get_settings
from kodosumi_prefect.stream.reader import Reader

SILENT = 30.0  # seconds after which a silent worker counts as gone
REPEAT = 2.0  # seconds after which an unanswered request is sent again
ACKNOWLEDGE = 30.0  # seconds a worker has to report that it drains


def drain(worker: str | None = None, *, wait: bool = True) -> None:
    """Let a worker take no new runs and end when its runs have.

    Use it before a node is taken down or a new version is rolled out. The runs go on in the
    meantime; what is scheduled waits for another worker.

    Parameters
    ----------
    worker
        Its name; the only one if not given.
    wait
        Return only once the worker has ended.
    """
    asyncio.run(_drain(worker, wait))


async def _drain(name: str | None, wait: bool) -> None:
    settings = get_settings()
    async with Reader(require_database(settings), settings.database_schema, 1) as reader:
        worker = _chosen(await _workers(reader), name)
        name = worker.name
        payload = Message("drain", name).payload()
        asked_at, deadline = 0.0, time.monotonic() + ACKNOWLEDGE
        runs = None
        while True:
            reports = [report for report in await _workers(reader) if report.name == name]
            if not reports:
                console.print(f"{name} has ended", markup=False)
                return
            info = reports[0].info
            if not info.get("draining"):
                if time.monotonic() > deadline:
                    raise CommandError(
                        f"{name} does not listen; is its database_listen_url a direct connection?"
                    )
                if time.monotonic() - asked_at > REPEAT:
                    asked_at = time.monotonic()
                    await reader.execute(
                        "notify", channel=channels.workers(settings.database_schema), fids=[payload]
                    )
            elif not wait:
                console.print(f"{name} is draining, {info['runs']} runs left", markup=False)
                return
            elif info["runs"] != runs:
                runs = info["runs"]
                console.print(f"{name} is draining, {runs} runs left", markup=False)
            await asyncio.sleep(0.5)


async def _workers(reader: Reader) -> list[Service]:
    services = await reader.rows_of(Service, "services")
    return [one for one in services if one.kind == "worker" and one.silent < SILENT]


def _chosen(workers: list[Service], name: str | None) -> Service:
    names = ", ".join(worker.name for worker in workers) or "none"
    if name is None and len(workers) == 1:
        return workers[0]
    for worker in workers:
        if worker.name == name:
            return worker
    if name is None and workers:
        raise CommandError(f"there are several workers, name one of them: {names}")
    raise CommandError(
        f"there is no worker {name or ''} now; these run: {names}".replace("  ", " ")
    )
