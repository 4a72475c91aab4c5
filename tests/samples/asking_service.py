"""A service whose entrypoint would ask; only its lock and lease functions are called."""

import asyncio
from typing import Any

from kodosumi_prefect.core import InputsError, Launch, ServeAPI, forms

app = ServeAPI()


def entrypoint(inputs: dict[str, Any]) -> None: ...


@app.enter("/", model=forms.Model(forms.InputText("topic")), summary="Asks")
async def enter(inputs: dict[str, Any], request: Any) -> Launch:
    return Launch(request, entrypoint, inputs=inputs)


@app.lock("approve")
async def approve(data: dict[str, Any]) -> forms.Model:
    return forms.Model(forms.Markdown(f"Is {data['draft']} good?"), forms.InputText("verdict"))


@app.lease("approve")
def approved(inputs: dict[str, Any], data: dict[str, Any]) -> Any:
    if inputs["verdict"] not in ("yes", "no"):
        raise InputsError(verdict="say yes or no")
    return {"approved": inputs["verdict"] == "yes", "of": data["draft"]}


@app.lock("slow")
async def slow() -> forms.Model:
    await asyncio.sleep(30)
    return forms.Model()
