"""The one way by which values that people give become parameters of Prefect."""

from typing import Any
from uuid import UUID

from prefect.client.orchestration import PrefectClient
from prefect.exceptions import ObjectNotFound

from kodosumi_prefect.adapter.launched import launched
from kodosumi_prefect.adapter.literal import REFERENCE, escaped, refers
from kodosumi_prefect.forms import InputsError, Model
from kodosumi_prefect.forms.bounds import Fault, Path, fault
from kodosumi_prefect.forms.structured import StructuredModel
from kodosumi_prefect.vocabulary import POOL_TYPE


class UnheldError(InputsError):
    """A value that Prefect cannot hold, reported at the field that it came from.

    Attributes:
        wrong: the value's fault and place, from its field on.
    """

    def __init__(self, wrong: Fault) -> None:
        super().__init__(**{_name(wrong.path): wrong.below})
        self.wrong = wrong

    def __reduce__(self) -> tuple[object, ...]:
        return UnheldError, (self.wrong,)

    def at_fields(self, model: Model) -> InputsError:
        """The same error by the names that a form has for its fields."""
        if isinstance(model, StructuredModel):
            for name, place in model.places.items():
                length = len(place.path)
                if self.wrong.path[:length] == place.path:
                    rest = Fault((name, *self.wrong.path[length:]), self.wrong.why)
                    return InputsError(**{name: rest.below})
        return self


def check_storable(values: dict[str, Any]) -> None:
    """Check that Prefect can hold some values.

    A value that it cannot hold does not only fail: from then on Prefect answers every list of runs
    that holds this one with an error.

    Raises:
        UnheldError: it cannot; names the field and the limit.
    """
    for name, value in values.items():
        wrong = fault(name, nul=True)
        wrong = wrong or fault(value, numbers=True, nul=True, path=(name,))
        if wrong is not None:
            raise UnheldError(Fault(wrong.path or (name,), wrong.why))


async def held(
    client: PrefectClient, deployment: UUID | str, parameters: dict[str, Any]
) -> dict[str, Any]:
    """Parameters for runs of a deployment, in which all that was given is data.

    Raises:
        UnheldError: Prefect cannot hold them, or would load a block for one of them where no
            Runner of ours can undo that.
    """
    launch = launched(parameters)
    if launch is not None:
        check_storable(launch.inputs)
        check_storable({"launch": parameters["launch"]})
    else:
        check_storable(parameters)
    if launch is None and refers(parameters) and not await _has_runners(client, deployment):
        name = next(name for name, value in parameters.items() if refers({name: value}))
        why = (
            f"has an object with the key {REFERENCE}, for which Prefect would load a block; only "
            f"work pools of type {POOL_TYPE} take it as it is, so give the key another name"
        )
        raise UnheldError(Fault((name,), why))
    hidden: dict[str, Any] = escaped(parameters)
    return hidden


async def _has_runners(client: PrefectClient, deployment: UUID | str) -> bool:
    """Whether the runs of a deployment are executed by Runners."""
    try:
        pool = (await client.read_deployment(UUID(str(deployment)))).work_pool_name
        return pool is not None and (await client.read_work_pool(pool)).type == POOL_TYPE
    except ObjectNotFound:
        return False


def _name(path: Path) -> str:
    return str(path[0]).encode(errors="replace").decode()
