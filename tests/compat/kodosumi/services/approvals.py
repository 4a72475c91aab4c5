"""Asks people: with a lock alone, with a lease function, from sync code and in vain."""

from kodosumi.core import InputsError, Launch, ServeAPI, Tracer
from kodosumi.core import forms as F

app = ServeAPI()


@app.enter("/", F.Model(F.InputText("which"), F.Submit("Go")), summary="Approvals")
async def enter(request, inputs: dict):
    return Launch(request, f"approvals:{inputs['which']}", inputs=inputs)


async def plain(inputs: dict, tracer: Tracer):
    return await tracer.lock("plain", {"draft": 1})


def checked(inputs: dict, tracer: Tracer):
    return tracer.lock_sync("checked", data={"draft": 2})


async def hasty(inputs: dict, tracer: Tracer):
    try:
        await tracer.lock("plain", {"draft": 3}, timeout=0.2)
    except TimeoutError as error:
        return f"nobody: {type(error).__name__}"


@app.lock("plain")
async def plain_form(data: dict):
    return F.Model(
        F.Markdown(f"Draft {data['draft']}"),
        F.InputText("verdict", "Verdict"),
        F.Checkbox("sure", option="Sure"),
        F.Submit("Answer"),
    )


@app.lock("checked")
def checked_form(data, request):
    return F.Model(F.Errors(), F.InputText("verdict", value=f"of {data['draft']}"), F.Submit("Go"))


@app.lease("checked")
def check(inputs, data):
    if not inputs["verdict"]:
        raise InputsError("general", verdict="say something")
    return {"draft": data["draft"], "seen": sorted(inputs.items())}
