"""Ray used in a flow before its first submit: the flow's cluster, and none if it is not used."""

import pytest

from kodosumi_prefect.settings import read_address
from tests.services import Place


@pytest.mark.parametrize(
    "way", [("put", "early"), ("remote", "lazy"), ("init unless",), ("thread", "early")]
)
def test_ray_in_a_flow_joins_the_cluster_of_its_tasks(
    ray_place: Place, way: tuple[str, ...]
) -> None:
    done = ray_place.call("script_first_use.py", *way, seconds=240)
    assert done.returncode == 0, done.stderr
    lines = done.stdout.splitlines()
    recorded = read_address(ray_place.settings, "ray")
    assert recorded is not None
    assert f"cluster {recorded['address']}" in lines
    assert "namespace ours" in lines
    assert "square 9" in lines
    assert "same job True" in lines
    assert "ray not imported" in lines


def test_a_flow_that_does_not_use_ray_connects_to_none(ray_place: Place) -> None:
    done = ray_place.call("script_first_use.py", "nothing", seconds=240)
    assert done.returncode == 0, done.stderr
    assert done.stdout.splitlines()[-2:] == ["ray not imported", "connected False"]
