"""The form of a Prefect flow, made of its typed parameters."""

import inspect
from typing import Any

from prefect.flows import Flow
from pydantic import ConfigDict, Field, create_model

from kodosumi_prefect.forms.schema import from_schema
from kodosumi_prefect.forms.typed import TypedModel

_ANY = inspect.Parameter.VAR_POSITIONAL, inspect.Parameter.VAR_KEYWORD


def flow_form(flow: "Flow[..., Any]") -> TypedModel:
    """A form that reads what ``flow`` takes.

    Labels and hints come from the schema that Prefect shows, docstring included; values are
    checked as pydantic checks them when the flow is called.

    Raises:
        TypeError: it takes ``*args`` or ``**kwargs``, or more beside ``inputs``.
    """
    parameters = inspect.signature(flow.fn, eval_str=True).parameters
    if strange := [name for name, each in parameters.items() if each.kind in _ANY]:
        raise TypeError(f"flow {flow.name} takes {strange[0]}, for which no form can be made")
    if "inputs" in parameters and len(parameters) > 1:
        others = ", ".join(name for name in parameters if name != "inputs")
        raise TypeError(
            f"flow {flow.name} takes inputs and {others}; put all into inputs, or rename inputs"
        )
    fields: dict[str, Any] = {
        f"parameter_{number}": (
            Any if each.annotation is each.empty else each.annotation,
            Field(... if each.default is each.empty else each.default, alias=name),
        )
        for number, (name, each) in enumerate(parameters.items())
    }
    checked = create_model(flow.name, __config__=ConfigDict(arbitrary_types_allowed=True), **fields)
    plain = from_schema(flow.parameters.model_dump_for_openapi())
    model = TypedModel(plain.children, plain.places)
    model.typed = checked
    return model
