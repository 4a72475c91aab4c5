"""Orders of runs for supervisors without a worker."""

from pathlib import Path
from typing import Any
from uuid import uuid4

from prefect.client.orchestration import get_client
from prefect.states import Pending

from kodosumi_prefect.carried import carried
from kodosumi_prefect.process.child import Descriptors
from kodosumi_prefect.process.order import Order
from tests.services import SAMPLES, Place

FILE = SAMPLES / "ends_oddly.py"
NOWHERE = Descriptors(1, 2, 1, 2, 0)  # of a process that executes no run


def ordered(
    place: Place, name: str, parameters: dict[str, Any], file: Path = FILE, **more: Any
) -> Order:
    """A pending run of a flow in a file, and its order."""
    step = {"prefect.deployments.steps.run_shell_script": {"script": "true"}}
    with get_client(sync_client=True) as client:
        deployment = client.create_deployment(
            flow_id=client.create_flow_from_name(name.replace("_", "-")),
            name=uuid4().hex,
            entrypoint=f"{file}:{name}",
            pull_steps=[step],
            enforce_parameter_schema=False,
        )
        run = client.create_flow_run_from_deployment(
            deployment, parameters=parameters, state=Pending()
        )
    variables = place.environment()
    variables |= more.pop("environment", {})
    return Order(str(run.id), variables, carried(place.settings), **more)
