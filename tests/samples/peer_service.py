"""A service as Kodosumi's documentation has it; it launches nothing, but tells what it got."""

import json

from kodosumi_prefect.core import InputsError, ServeAPI
from kodosumi_prefect.core import forms as F

form = F.Model(
    F.Errors(),
    F.InputText("name", "Name", required=True),
    F.InputNumber("count", "Count", min_value=1),
    F.InputDate("day"),
    F.InputTime("at"),
    F.Select("kind", [F.InputOption("a"), F.InputOption("b")]),
    F.Checkbox("loud"),
    F.Action("do", "it", text="Do it"),
    F.InputPassword("code"),
    F.Submit("Go"),
)
review = F.Model(F.Markdown("# Fine?"), F.InputNumber("stars"), F.InputText("why"))
upload = F.Model(F.InputText("title"), F.InputFiles("papers", multiple=True), F.Submit("Go"))
app = ServeAPI(title="Peer")


@app.enter("/", model=form, summary="Echo")
async def echo(inputs: dict) -> None:
    raise InputsError(json.dumps(inputs))


@app.enter("/boom", model=form, summary="Boom")
async def boom(inputs: dict) -> None:
    raise RuntimeError("no credit left")


@app.enter("/upload", model=upload, summary="Upload")
async def papers(inputs: dict) -> None:
    raise InputsError(json.dumps(inputs))


@app.lock("review")
def ask(data: dict) -> F.Model:
    return review


@app.lease("review")
def lease(inputs: dict) -> dict:
    if inputs["why"] == "boom":
        raise RuntimeError("no credit left")
    return {"told": inputs}


@app.lock("plain")
def ask_plainly() -> F.Model:
    return review


@app.lock("boom")
def ask_wrongly() -> F.Model:
    raise RuntimeError("no form left")
