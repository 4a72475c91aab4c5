"""What a Runner needs of the cluster, and what Ray says when it cannot be had."""

import json
from pathlib import Path

import pytest
from prefect.settings import PREFECT_DEFAULT_WORK_POOL_NAME, temporary_settings

from kodosumi_prefect.runner import cluster
from kodosumi_prefect.runner.cluster import (
    Cluster,
    Spec,
    VersionError,
    check_versions,
    own_versions,
    uploaded,
    why_it_died,
)
from kodosumi_prefect.runner.job import KodosumiRayJobConfiguration
from kodosumi_prefect.runner.order import Facts
from kodosumi_prefect.runner.worker import KodosumiRayWorker
from tests.waiting import wait_for

REPOSITORY = Path(__file__).parents[2]


def test_the_template_in_the_repository_is_the_one_of_the_worker():
    stored = json.loads((REPOSITORY / "deployments" / "base-job-template.json").read_text())
    assert stored == KodosumiRayWorker.get_default_base_job_template()
    properties = stored["variables"]["properties"]
    assert set(properties) == {
        *("num_cpus", "num_gpus", "memory", "resources", "runtime_env", "env", "labels"),
        "schedule_timeout",
    }
    assert all(field["description"] for field in properties.values())


async def test_job_variables_become_a_spec_and_secrets_stay_out_of_it(place):
    configuration = await KodosumiRayJobConfiguration.from_template_and_values(
        KodosumiRayWorker.get_default_base_job_template(),
        {
            "num_cpus": 1.5,
            "memory": 100,
            "labels": {"zone": "a"},
            "runtime_env": {"pip": ["six"]},
            "env": {"KEY": "secret"},
        },
    )
    spec = configuration.spec()
    assert spec.needs() == {"CPU": 1.5, "memory": 100.0 * 2**20}
    assert spec.labels == {"zone": "a"}
    assert "secret" not in spec.key
    assert configuration.env["KEY"] == "secret"


def test_runs_get_the_prefect_settings_that_are_in_force() -> None:
    found = []
    for name in ("one", "two", "one"):
        with temporary_settings({PREFECT_DEFAULT_WORK_POOL_NAME: name}):
            first = KodosumiRayJobConfiguration._base_environment()
            first["PREFECT_DEPLOYMENTS_DEFAULT_WORK_POOL_NAME"] += " of one run"
            found.append(KodosumiRayJobConfiguration._base_environment())
    assert [one["PREFECT_DEPLOYMENTS_DEFAULT_WORK_POOL_NAME"] for one in found] == [
        "one",
        "two",
        "one",
    ]


def test_specs_stand_in_for_each_other_only_if_all_of_them_is_the_same():
    assert Spec(1, resources={"a": 1, "b": 2}).key == Spec(1, resources={"b": 2, "a": 1}).key
    other = [Spec(2), Spec(1, 1), Spec(1, memory=1), Spec(1, runtime_env={"pip": ["six"]})]
    assert len({spec.key for spec in (Spec(1), *other, Spec(1, labels={"zone": "a"}))}) == 6


@pytest.mark.parametrize(
    ("runtime_env", "may"),
    [
        ({}, True),
        ({"pip": ["six"], "env_vars": {"A": "1"}}, True),
        ({"working_dir": "gcs://_ray_pkg_1f0c.zip"}, True),
        ({"working_dir": "https://example.com/main.zip"}, False),
        ({"working_dir": "/home/me/project"}, False),
        ({"py_modules": ["gcs://_ray_pkg_1f0c.zip", "s3://bucket/code.zip"]}, False),
    ],
)
def test_code_that_may_change_at_its_address_is_never_waited_with(runtime_env, may):
    assert Spec(runtime_env=runtime_env).may_wait is may


@pytest.mark.parametrize(
    ("mark", "wanted", "fits"),
    [
        ("a", "a", True),
        ("a", "b", False),
        (None, "a", False),
        ("a", "!b", True),
        (None, "!b", True),
        ("a", "!a", False),
        ("b", "in(a, b)", True),
        ("c", "in(a, b)", False),
        ("c", "!in(a, b)", True),
        ("b", "!in(a,b)", False),
    ],
)
def test_labels_are_matched_as_ray_matches_them(mark, wanted, fits):
    assert cluster._matches(mark, wanted) is fits


def test_other_versions_are_refused_in_one_line():
    same = Facts("n", "far-host", 1, own_versions())
    check_versions(same)
    check_versions(same._replace(versions={**own_versions(), "prefect": "3.0.0"}))
    for name in ("ray", "python", "kodosumi-prefect"):
        other = same._replace(versions={**own_versions(), name: "0.0"})
        with pytest.raises(VersionError, match=f"^node far-host has {name} 0.0, the worker has"):
            check_versions(other)


@pytest.mark.parametrize(
    ("said", "told"),
    [
        (
            "The actor died.\nWorker exit type: SYSTEM_ERROR Worker exit detail: Worker "
            "unexpectedly exits with a connection error code 2. End of file. Some common causes",
            "its process ended without a message: killed",
        ),
        ("The actor died because its node has died. Node Id: f00", "its node was lost"),
        (
            "Task was killed due to the node running low on memory.\nMemory on the node was 9 GB",
            "lack of memory",
        ),
        ("Failed to set up runtime environment.\nERROR: no such package", "ERROR: no such package"),
        ("Worker exit detail: Exit code: 3.", "Exit code: 3."),
        ("", "ValueError"),
    ],
)
def test_what_is_known_of_a_death_is_one_line(said, told):
    line = why_it_died(ValueError(said))
    assert told in line
    assert "\n" not in line


def test_the_cluster_tells_what_it_lacks(ray_place):
    there = Cluster(ray_place.settings, "kodosumi-test")
    there.connect()
    assert there.lacks(Spec(1)) is None
    assert "GPU 4 is needed, no node has more than 0" in (there.lacks(Spec(num_gpus=4)) or "")
    assert "tpu 1" in (there.lacks(Spec(resources={"tpu": 1})) or "")
    assert "MiB" in (there.lacks(Spec(memory=2**60)) or "")
    assert "{'zone': 'x'}" in (there.lacks(Spec(1, labels={"zone": "x"})) or "")
    assert not there.grows()
    assert Cluster(
        ray_place.settings.model_copy(update={"ray_autoscaling": True}), "kodosumi-test"
    ).grows()
    assert there.find("nobody") is None


def test_the_cluster_tells_its_nodes(ray_place):
    there = Cluster(ray_place.settings, "kodosumi-test")
    there.connect()
    found = there.nodes()
    assert found and all(node["host"] for node in found)
    assert sum(node["resources"].get("CPU", 0) for node in found) >= 1
    assert not any(name.startswith("node:") for node in found for name in node["resources"])


def test_the_cluster_tells_what_of_it_is_taken(ray_place):
    there = Cluster(ray_place.settings, "kodosumi-test")
    there.connect()
    import ray

    @ray.remote(num_cpus=0.25)
    class Holds:
        def hold(self):
            return True

    before = there.used()["CPU"]
    holder = Holds.remote()
    assert ray.get(holder.hold.remote(), timeout=60)
    wait_for(lambda: there.used()["CPU"] >= before + 0.25, 30, "a quarter of a processor in use")
    assert set(there.used()) <= {"CPU", "GPU", "memory"}
    ray.kill(holder)


def test_a_local_folder_is_uploaded_under_the_name_of_its_content(ray_place, tmp_path):
    Cluster(ray_place.settings, "kodosumi-test").connect()
    (tmp_path / "code.py").write_text("ONE = 1\n")
    first = uploaded({"working_dir": str(tmp_path), "env_vars": {"A": "1"}})
    assert first["working_dir"].startswith("gcs://")
    assert first["env_vars"] == {"A": "1"}
    assert uploaded({"working_dir": str(tmp_path)})["working_dir"] == first["working_dir"]
    (tmp_path / "code.py").write_text("ONE = 2\n")
    assert uploaded({"working_dir": str(tmp_path)})["working_dir"] != first["working_dir"]
    assert uploaded({"working_dir": "s3://a/b.zip"}) == {"working_dir": "s3://a/b.zip"}
