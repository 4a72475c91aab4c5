"""Services as they were written for Kodosumi, moved over by their import root alone."""

import asyncio
import importlib
import re
import sys
from pathlib import Path

import uvicorn

WRITTEN = Path(__file__).parent / "services"
SERVICES = (
    "company_news.query",
    "catalogue",
    "hymn",
    "questionnaire",
    "approvals",
    "parcels",
    "chatter",
)
IMPORT = re.compile(r"^(\s*)(from|import) kodosumi\b", re.MULTILINE)


def moved_to(folder: Path) -> Path:
    """Copies of all services in ``folder`` whose imports name us; nothing else is changed."""
    for file in sorted(path for path in WRITTEN.rglob("*") if path.suffix in (".py", ".html")):
        copy = folder / file.relative_to(WRITTEN)
        copy.parent.mkdir(parents=True, exist_ok=True)
        copy.write_text(IMPORT.sub(r"\1\2 kodosumi_prefect", file.read_text()))
    return folder


async def _serve(ports: list[int]) -> None:
    servers = [
        uvicorn.Server(
            uvicorn.Config(importlib.import_module(name).app, port=port, log_level="warning")
        )
        for name, port in zip(SERVICES, ports, strict=True)
    ]
    await asyncio.gather(*(server.serve() for server in servers))


if __name__ == "__main__":  # one process for all, since each costs an interpreter's start
    asyncio.run(_serve([int(port) for port in sys.argv[1:]]))
