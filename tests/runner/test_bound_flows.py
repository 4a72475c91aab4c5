"""Flows that are bound to a pool, or submitted to one, have no deployment."""

import warnings
from uuid import uuid4

import pytest
from prefect import flow
from prefect.client.orchestration import get_client
from prefect.client.schemas.actions import WorkPoolCreate
from prefect.client.schemas.filters import WorkPoolFilter, WorkPoolFilterName
from prefect.flows import bind_flow_to_infrastructure

from kodosumi_prefect.runner.worker import KodosumiRayWorker
from tests.services import Place


@flow
def plain() -> int:
    return 1


def test_a_flow_without_a_deployment_is_refused_and_leaves_no_run(place: Place) -> None:
    name = f"of-runners-{uuid4().hex[:8]}"
    with get_client(sync_client=True) as client:
        client.create_work_pool(WorkPoolCreate(name=name, type=KodosumiRayWorker.type))
        bound = bind_flow_to_infrastructure(plain, name, KodosumiRayWorker)
        with warnings.catch_warnings():
            warnings.simplefilter("error", FutureWarning)
            with pytest.raises(NotImplementedError, match="deploy the flow and use run_deployment"):
                bound()
        of_pool = WorkPoolFilter(name=WorkPoolFilterName(any_=[name]))
        assert client.read_flow_runs(work_pool_filter=of_pool) == []
