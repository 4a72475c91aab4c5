"""Several endpoints in one app, in every style that it may be written in."""

from fastapi import Request
from fastapi.responses import HTMLResponse, JSONResponse, StreamingResponse

from kodosumi import response
from kodosumi.core import InputsError, KodosumiError, Launch, ServeAPI, Tracer
from kodosumi.core import forms as F

app = ServeAPI(title="Catalogue", version="2.0", description="Several endpoints")


class Item:
    def __init__(self) -> None:
        self.name = "chair"
        self.legs = 4
        self._hidden = True


async def echo(inputs: dict, tracer: Tracer):
    return inputs


def swapped(tracer, inputs):
    return response.Markdown("# one", inputs["what"])


def traced(tracer):
    return {"fid": str(tracer.fid)}


def untraced(inputs):
    return [1, "a", {"x": inputs["how"]}]


def item(inputs):
    return Item()


def fails(inputs):
    raise ValueError("wrong value")


def complains(inputs):
    raise KodosumiError("said by the service")


WHAT = F.Model(F.InputText("what", "What"), F.InputText("how", "How"), F.Submit("Go"))


@app.enter(
    "/",
    WHAT,
    summary="Catalogue",
    description="All *kinds*",
    tags=["shop", "all"],
    version="1.2",
    author="somebody@example.com",
    organization="Shop",
    deprecated=True,
)
def enter(inputs, request: Request):
    """A handler need not be async, and may take its arguments in any order."""
    target = {
        "colon": f"catalogue:{inputs['what']}",
        "dot": f"catalogue.{inputs['what']}",
        "callable": globals().get(inputs["what"]),
    }[inputs["how"]]
    return Launch(request, target, inputs=inputs)


@app.enter("/named", WHAT, summary="Named")
async def named(request: Request, inputs: dict):
    return Launch(
        request,
        "catalogue:echo",
        inputs=inputs,
        reference="order 7",
        summary=f"About {inputs['what']}",
        description="Its own",
    )


@app.enter("/inputs", WHAT, summary="Without request")
async def without_request(inputs: dict):
    raise InputsError(what=repr(inputs["what"]))


@app.enter("/request", WHAT, summary="Without inputs")
async def without_inputs(request: Request):
    return Launch(request, "catalogue:echo", inputs={"agent": "user-agent" in request.headers})


@app.get("/entry", entry=True, summary="By GET", tags=["shop"], version="9", organization="Shop")
async def entry(request: Request, topic: str = "none"):
    return Launch(request, "catalogue:echo", inputs={"topic": topic})


@app.post("/entry-post", entry=True, summary="By POST")
async def entry_post(request: Request):
    return Launch(request, echo, inputs=await request.json())


@app.get("/health", summary="Not listed")
async def health():
    return {"healthy": True}


@app.get("/page", entry=True, summary="A page")
async def page():
    return HTMLResponse("<p>page</p>")


@app.put("/put", entry=True, summary="Changed")
async def put(request: Request):
    return JSONResponse(await request.json(), 202, headers={"x-own": "1"})


@app.get("/lines", entry=True, summary="Streams")
async def lines():
    async def pieces():
        for number in range(3):
            yield f"line {number}\n"

    return StreamingResponse(pieces(), media_type="text/plain")


@app.enter("/raises", F.Model(F.Errors(), F.InputText("a"), F.InputText("way")), summary="Raises")
async def raises(request: Request, inputs: dict):
    error = InputsError()
    assert not error and not error.has_errors()
    match inputs["way"]:
        case "text":
            raise InputsError("general text")
        case "both":
            raise InputsError("general", a="of a field")
        case "add":
            error.add(a="first")
            error.add(a="second", way="third")
        case "flash":
            error.flash("flashed")
            error.flash("again")
    assert error and error.has_errors()
    raise error
