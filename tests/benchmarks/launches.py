"""From a POST on an endpoint in the panel's process to its fid, beside Prefect's part of it."""

import asyncio
import time
from typing import Any

import httpx
from prefect.client.orchestration import get_client
from starlette.requests import Request
from starlette.types import Receive, Scope, Send

from kodosumi_prefect.core import Launch, ServeAPI, forms
from kodosumi_prefect.keys import make_secret
from kodosumi_prefect.runner.worker import KodosumiRayWorker
from kodosumi_prefect.settings import Settings
from tests.benchmarks.harness import connect, quantile, report

ONE_BY_ONE = 60
AT_ONCE = 50

app = ServeAPI(title="Benchmark")


@app.enter("/", model=forms.Model(forms.InputText("name", "Name"), forms.Submit("Go")))
async def endpoint(inputs: dict[str, Any], request: Request) -> Launch:
    return Launch(request, "tests.samples.entrypoints:plain", inputs=inputs)


async def mounted(scope: Scope, receive: Receive, send: Send) -> None:
    """As the panel calls a service in its own process."""
    await app({**scope, "kodosumi.inprocess": True}, receive, send)


async def measure(settings: Settings, url: str) -> None:
    async with get_client() as prefect:
        template = KodosumiRayWorker.get_default_base_job_template()
        pool = {"name": settings.launch_work_pool, "type": "kodosumi-ray"}
        body = {**pool, "base_job_template": template}
        (await prefect.request("POST", "/work_pools/", json=body)).raise_for_status()
        headers = {"x-kodosumi_user": "5a0c6e5e-0000-4000-8000-000000000001"}
        transport = httpx.ASGITransport(mounted)
        async with httpx.AsyncClient(
            transport=transport, base_url="http://panel", headers=headers, timeout=120
        ) as client:

            async def post() -> tuple[float, str]:
                began = time.perf_counter()
                answer = await client.post("/", json={"name": "Ada"})
                assert answer.status_code == 200, answer.text
                return time.perf_counter() - began, answer.json()["result"]

            first, fid = await post()
            deployment = (await prefect.read_flow_run(fid)).deployment_id
            ours, alone = [], []
            for _ in range(ONE_BY_ONE):
                seconds, _fid = await post()
                ours.append(seconds)
                began = time.perf_counter()
                await prefect.create_flow_run_from_deployment(
                    deployment, parameters={"entry_point": "a:b", "inputs": {"name": "Ada"}}
                )
                alone.append(time.perf_counter() - began)
            began = time.perf_counter()
            together = await asyncio.gather(*(post() for _ in range(AT_ONCE)))
            whole = time.perf_counter() - began
    fids = {fid for _, fid in together}
    assert len(fids) == AT_ONCE
    with connect(url) as database:
        query = "SELECT count(*) FROM kodosumi.execution WHERE fid = ANY(%s::uuid[])"
        row = database.execute(query, (sorted(fids),)).fetchone()
        assert row == (AT_ONCE,), "all can be asked for"

    def both(share: float) -> str:
        return f"{quantile(ours, share) * 1e3:6.1f} ms   ({quantile(alone, share) * 1e3:.1f} ms)"

    report(
        "POST on an endpoint to its fid (Prefect creating a run, alone)",
        {
            "p50 (at most 150 ms)": both(0.5),
            "p95": both(0.95),
            "the first one, which makes the deployment": f"{first * 1e3:6.1f} ms",
            f"{AT_ONCE} at once, all answered (at most 30 s)": f"{whole:6.2f} s",
        },
    )


def run(settings: Settings, url: str) -> None:
    make_secret(settings)
    asyncio.run(measure(settings, url))
