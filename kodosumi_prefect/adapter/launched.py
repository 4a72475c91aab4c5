"""Runs that were launched from an endpoint, as their Prefect parameters describe them."""

from typing import Any, NamedTuple

from pydantic import BaseModel, ConfigDict, ValidationError

from kodosumi_prefect.adapter.literal import opened

NAMES = {"entry_point", "inputs", "launch"}  # of the parameters of every launched run
WHOLE = "inputs"  # the key of inputs that are no object, within the parameter ``inputs``


class LaunchParameter(BaseModel):
    """What the endpoint set for its run; the parameter ``launch``.

    Attributes:
        flow: the endpoint in one word; what lists show as the flow's name.
        app_url: where the service runs.
        username: the name of who launched it, for people; the run's label names its owner.
        payload: id of the row with inputs that are not among the parameters.
        large: that row holds all inputs, not secret ones only.
        timeout: seconds the run may take.
        retries, retry_delay: how often it is tried again, and seconds in between.
        scheduled: these are the parameters of a schedule, not the deployment's own.
        path: folders that the launching process imported the entrypoint from.
        types: what JSON does not say of the inputs, as ``typed_values`` lists it.
        whole: the inputs are no object, and stand under one key of the parameter ``inputs``.
        inputs_type: the name of the inputs' type, for the record; None if their JSON tells it.
        files: ids of the batches of files that the run finds in ``in/``.
    """

    model_config = ConfigDict(extra="ignore")

    flow: str
    summary: str | None = None
    description: str | None = None
    tags: list[str] = []
    author: str | None = None
    organization: str | None = None
    version: str | None = None
    deprecated: bool = False
    app_url: str | None = None
    panel_url: str | None = None
    username: str | None = None
    payload: str | None = None
    large: bool = False
    timeout: float | None = None
    retries: int | None = None
    retry_delay: float | None = None
    scheduled: bool = False
    path: list[str] = []
    types: list[list[Any]] = []
    whole: bool = False
    inputs_type: str | None = None
    files: list[str] = []


class Launched(NamedTuple):
    """The parameters of a launched run; its inputs as they were given, as JSON."""

    entry_point: str
    inputs: dict[str, Any]
    launch: LaunchParameter

    @property
    def visible(self) -> Any:
        """The inputs as people see them."""
        whole = self.launch.whole and not self.launch.large
        return self.inputs.get(WHOLE) if whole else self.inputs


def launched(parameters: dict[str, Any]) -> Launched | None:
    """The launch that parameters of a flow run describe; None if it was not launched."""
    if parameters.keys() != NAMES:
        return None
    entry_point, inputs = parameters["entry_point"], parameters["inputs"]
    if not isinstance(entry_point, str) or not isinstance(inputs, dict):
        return None
    try:
        launch = LaunchParameter.model_validate(parameters["launch"])
    except ValidationError:
        return None
    return Launched(entry_point, opened(inputs), launch)
