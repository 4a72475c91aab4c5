"""Searches news: dates from the handler to the entrypoint, queries in parallel on Ray."""

import asyncio
import datetime
from typing import List, Optional

import fastapi
import ray
from ray import serve

from kodosumi.core import InputsError, Launch, ServeAPI, Tracer
from kodosumi.core import forms as F

app = ServeAPI()

news_model = F.Model(
    F.Markdown("# Search news\n\nOne query per line."),
    F.Break(),
    F.InputArea(label="Query", name="texts"),
    F.InputDate(label="Start Date", name="start", required=True),
    F.InputDate(label="End Date", name="end", required=True),
    F.Submit("Submit"),
    F.Cancel("Cancel"),
)


@app.enter(
    path="/",
    model=news_model,
    summary="News Search",
    description="Search for news.",
    tags=["OpenAI"],
    version="1.0.0",
    author="somebody@example.com",
)
async def enter(request: fastapi.Request, inputs: dict):
    query = inputs.get("texts", "").strip()
    start = datetime.datetime.strptime(inputs.get("start"), "%Y-%m-%d")
    end = datetime.datetime.strptime(inputs.get("end"), "%Y-%m-%d")
    texts = [line.strip() for line in query.split("\n") if line.strip()]
    error = InputsError()
    if not texts:
        error.add(texts="Please specify a query to search for news.")
    if start > end:
        error.add(start="Must be before or equal to end date.")
    if error.has_errors():
        raise error
    return Launch(
        request,
        "company_news.query:run_batch",
        inputs={"texts": texts, "start": start, "end": end},
    )


@serve.deployment
@serve.ingress(app)
class NewsSearch:
    pass


fast_app = NewsSearch.bind()


async def run_batch(inputs: dict, tracer: Tracer):
    texts = inputs.get("texts", [])
    start = inputs.get("start", datetime.datetime.now())
    end = inputs.get("end", datetime.datetime.now())
    return await batch(texts, start, end, tracer)


@ray.remote(num_cpus=0.1)
def query(text: str, start: datetime.datetime, end: datetime.datetime) -> dict:
    try:
        asked = f"{text} from {start.strftime('%d %b %Y')} to {end.strftime('%d %b %Y')}"
        return {"query": text, "start": start, "end": end, "output": asked, "error": None}
    except Exception as e:
        return {"query": text, "start": start, "end": end, "error": e}


async def batch(
    texts: List[str],
    start: datetime.datetime,
    end: datetime.datetime,
    tracer: Optional[Tracer] = None,
):
    unready = [query.remote(text, start, end) for text in texts]
    results = []
    while unready:
        ready, unready = ray.wait(unready, num_returns=1, timeout=1)
        if ready:
            result = ray.get(ready[0])
            results.append(result)
            await tracer.markdown(f"#### {result['query']}")
            if result["error"]:
                await tracer.markdown(f"**Error:** {result['error']}")
            else:
                await tracer.markdown(result["output"])
            await tracer.html("<div class='large-divider'></div>")
            print(f"Job completed ({len(results)}/{len(texts)})")
        await asyncio.sleep(0)
    return results
