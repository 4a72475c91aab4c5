"""``demo``: the main job once, from nothing to the right answer."""

import asyncio
import json
import shlex
import signal
import sys
from pathlib import Path
from typing import Any

import httpx
from prefect.client.orchestration import get_client

import kodosumi_prefect
from kodosumi_prefect.cli.options import with_options
from kodosumi_prefect.cli.output import CommandError, console, print_event
from kodosumi_prefect.cli.up import running_stack
from kodosumi_prefect.secret_variables import inherited_environment
from kodosumi_prefect.settings import Settings
from kodosumi_prefect.stream.reader import StoredEvent
from kodosumi_prefect.vocabulary import API_KEY_HEADER

LIMIT = 1_000_000
PRIMES = 78_498  # primes below LIMIT
DEPLOYMENT = "prime-gaps/prime-gaps"
FIRST_WAIT = 120.0  # seconds until the worker has begun the run


def demo(*, data_dir: Path = Path(".kodosumi/demo")) -> int:
    """Start everything, deploy the example flow prime_gaps, run it on Ray and stream its events.

    Everything it starts is stopped at the end; the exit code is 0 if the streamed answer is right.

    Parameters
    ----------
    data_dir
        Folder for data, logs and addresses.
    """
    settings = with_options(data_dir=data_dir, port=0)
    return asyncio.run(_demo(settings))


async def _demo(settings: Settings) -> int:
    from kodosumi_prefect.panel.accounts.local_sign_in import local_token

    me = asyncio.current_task()
    assert me is not None
    for number in (signal.SIGINT, signal.SIGTERM):
        asyncio.get_running_loop().add_signal_handler(number, me.cancel)
    console.print("starting Postgres, Prefect, Ray, a worker and the panel")
    try:
        async with running_stack(settings, None, True) as (stack, panel):
            console.print(f"panel at {panel}", markup=False)
            await _deploy(stack.environment(), examples())
            async with get_client() as client:
                deployment = await client.read_deployment_by_name(DEPLOYMENT)
                run = await client.create_flow_run_from_deployment(
                    deployment.id, parameters={"limit": LIMIT}
                )
            console.print(f"run {run.id}: its events, as the panel streams them", markup=False)
            token = await asyncio.to_thread(local_token, settings)
            final = await _follow(panel, str(run.id), token)
            console.print(f"its page: {panel}/executions/{run.id}", markup=False)
    except asyncio.CancelledError:
        console.print("stopped")
        return 130
    return _judge(final)


def examples() -> Path:
    """The folder of the example flows: as they were installed, or in a clone."""
    package = Path(kodosumi_prefect.__file__).parent
    installed = package / "examples"
    return installed if installed.is_dir() else package.with_name("flows")


async def _deploy(environment: dict[str, str], folder: Path) -> None:
    """``prefect deploy``, as a user types it in the folder of the flow."""
    words = ["--no-prompt", "deploy", "prime_gaps.py:prime_gaps", "--name", "prime-gaps"]
    words += ["--pool", "kodosumi"]
    console.print(shlex.join(["prefect", *words]), markup=False, soft_wrap=True)
    process = await asyncio.create_subprocess_exec(
        *(sys.executable, "-m", "prefect", *words),
        cwd=folder,
        env=inherited_environment() | environment,
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.STDOUT,
    )
    try:
        output, _ = await process.communicate()
    finally:
        if process.returncode is None:
            process.kill()
            await process.wait()
    if process.returncode:
        raise CommandError(f"prefect deploy failed: {output.decode(errors='replace')}")


async def _follow(panel: str, fid: str, token: str) -> Any:
    """Print the stream as it arrives over HTTP; the final result, or None."""

    final = None
    headers = {API_KEY_HEADER: token}
    patience = httpx.Timeout(FIRST_WAIT)
    async with httpx.AsyncClient(base_url=panel, headers=headers, timeout=patience) as client:
        async with asyncio.timeout(FIRST_WAIT):
            # The panel holds each of these back until the execution begins, for a while.
            while (await client.get(f"/outputs/status/{fid}?extended=true")).status_code == 404:
                pass
        async with client.stream("GET", f"/outputs/stream/{fid}") as response:
            response.raise_for_status()
            async for kind, seq, data in _events(response):
                if kind == "eof":
                    break
                if kind in ("alive", "reset"):
                    continue
                ts, _, payload = data.partition(":")
                print_event(StoredEvent(seq, float(ts), kind, payload, 0, None))
                if kind == "final":
                    final = json.loads(payload)
    return final


async def _events(response: httpx.Response) -> Any:
    """Server-sent events of a response as ``(event, id, data)``."""
    event, seq = "", 0
    data: list[str] = []
    async for line in response.aiter_lines():
        name, _, value = line.partition(":")
        value = value.removeprefix(" ")
        if not line:
            if event:
                yield event, seq, "\n".join(data)
            event, data = "", []
        elif name == "event":
            event = value
        elif name == "id":
            seq = int(value or 0)
        elif name == "data":
            data.append(value)


def _judge(final: Any) -> int:
    primes = (final or {}).get("dict", {}).get("primes")
    if primes == PRIMES:
        console.print(f"{primes:,} primes below {LIMIT:,}: right", style="bold green")
        return 0
    console.print(f"expected {PRIMES:,} primes below {LIMIT:,}, got {primes}", style="bold red")
    return 1
