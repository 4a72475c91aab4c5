"""A service and a flow that give back what they got."""

import json
from typing import Any

from pydantic import BaseModel

from kodosumi_prefect import flow
from kodosumi_prefect.core import Launch, ServeAPI, forms


class Wrapped(BaseModel):
    """A model with a field for anything."""

    inner: dict[str, Any] = {}


@flow
def echoes(data: Any = None, wrapped: Wrapped | None = None, count: int = 0) -> Any:
    return data if wrapped is None else wrapped.inner


@flow(validate_parameters=False)
def unchecked(data: Any = None) -> Any:
    return data


def echo(inputs: dict[str, Any]) -> Any:
    return inputs["data"]


app = ServeAPI(title="Echoes")
form = forms.Model(forms.InputText("n"), forms.InputArea("data"), forms.Submit("Go"))


@app.enter("/form", form, summary="Echo")
def handle(inputs: dict[str, Any], request: Any) -> Launch:
    """As authors do: text becomes what the entrypoint wants."""
    data = json.loads(inputs["data"] or "null")
    number = json.loads(inputs["n"] or "0")
    return Launch(request, "tests.samples.echoes:echo", inputs={"n": number, "data": data})


app.add_flow(echoes, path="/flow")
