"""Says everything a tracer can say: async, sync, from Ray tasks and actors."""

import asyncio
import logging
import pathlib
import sys

import ray
from fastapi import Request
from pydantic import BaseModel

from kodosumi import response
from kodosumi.core import Launch, ServeAPI, Templates, Tracer
from kodosumi.core import forms as F

app = ServeAPI()
templates = Templates(directory=str(pathlib.Path(__file__).parent / "templates"))


class Answer(BaseModel):
    a: int
    b: list[str] = []


@app.enter("/", F.Model(F.InputText("which"), F.Submit("Go")), summary="Chatter")
async def enter(request, inputs: dict):
    return Launch(request, f"chatter:{inputs['which']}", inputs=inputs)


@app.get("/page", entry=True, summary="Chatter's page")
async def page(request: Request):
    return templates.TemplateResponse(request, "hello.html", {"name": "you"})


async def calls(inputs, tracer: Tracer):
    await tracer.debug("d1", "d2")
    await tracer.text("t1", "t2")
    await tracer.html("<b>h1</b>", "h2")
    await tracer.markdown("# m1", "m2")
    await tracer.result("r1", {"r": 2}, Answer(a=1), [1, Answer(a=2)])
    await tracer.action("a1", 2, 1.5, True)
    await tracer.result(response.Markdown("own"))
    await tracer.warning("w1")
    try:
        raise ValueError("inside")
    except ValueError:
        await tracer.warning("w2", exc_info=True)
    print("printed")
    print("to stderr", file=sys.stderr)
    return Answer(a=3, b=["x"])


def sync_calls(inputs, tracer: Tracer):
    tracer.debug_sync("d1", "d2")
    tracer.text_sync("t1", "t2")
    tracer.html_sync("<b>h1</b>", "h2")
    tracer.markdown_sync("# m1", "m2")
    tracer.result_sync("r1", {"r": 2}, Answer(a=1))
    tracer.action_sync("a1", 2)
    tracer.warning_sync("w1")
    logging.getLogger(__name__).warning("logged")
    print("printed")
    return "done"


@ray.remote(num_cpus=0.1)
def task(tracer, number):
    tracer.debug_sync(f"task {number}")
    tracer.result_sync({"n": number})
    return number


@ray.remote(num_cpus=0.1)
class Actor:
    async def go(self, tracer):
        await tracer.debug("actor")
        return "went"


async def remotes(inputs, tracer: Tracer):
    numbers = await asyncio.gather(*[task.remote(tracer, n) for n in range(2)])
    return {"numbers": numbers, "actor": await Actor.remote().go.remote(tracer)}


async def long(inputs, tracer):
    await tracer.debug("begun")
    await asyncio.sleep(60)
