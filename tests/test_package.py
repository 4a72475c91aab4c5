"""What the package offers is there when it is used, and costs nothing before."""

import subprocess
import sys

import cloudpickle
import pytest

import kodosumi_prefect

pytestmark = pytest.mark.pure


def run(code: str) -> str:
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, timeout=120, check=False
    )
    assert done.returncode == 0, done.stderr
    return done.stdout.strip()


def test_naming_the_package_imports_neither_prefect_nor_ray() -> None:
    code = """
import sys
import kodosumi_prefect
assert set(kodosumi_prefect.__all__) <= set(dir(kodosumi_prefect))
assert not {"prefect", "ray", "fastapi", "pydantic"} & set(sys.modules)
try:
    kodosumi_prefect.nothing
except AttributeError as exc:
    print(exc)
"""
    assert run(code) == "module 'kodosumi_prefect' has no attribute 'nothing'"


def test_names_mean_the_same_whatever_was_imported_before() -> None:
    code = """
import pickle, sys
import kodosumi_prefect.tracer
from kodosumi_prefect import scope
tracer = pickle.loads(pickle.dumps(kodosumi_prefect.TracerMock()))
import kodosumi_prefect.flow
import kodosumi_prefect.flow as as_module
from kodosumi_prefect import Tracer, flow, forms, tracer
assert flow is as_module is kodosumi_prefect.flow is sys.modules["kodosumi_prefect.flow"].flow
assert tracer is kodosumi_prefect.tracer is sys.modules["kodosumi_prefect.tracer"].tracer
assert forms is sys.modules["kodosumi_prefect.forms"]
assert Tracer.__module__ == "kodosumi_prefect.tracer"
"""
    assert run(code) == ""


def test_who_has_to_do_with_an_execution_finds_it_as_if_all_were_imported() -> None:
    code = """
import pickle, sys
from kodosumi_prefect.scope import Scope, arrivals, finders
from kodosumi_prefect.tracer import Tracer
assert "kodosumi_prefect.adapter.owners" not in sys.modules and not finders and not arrivals
pickle.loads(pickle.dumps(Tracer(Scope("0190c0de-0000-7000-8000-000000000000"))))
assert "kodosumi_prefect.adapter.child_processes" in sys.modules and finders and arrivals
assert "opentelemetry.sdk" not in sys.modules, "OpenTelemetry's SDK is the author's to import"
"""
    assert run(code) == ""


def test_a_function_that_uses_the_package_travels_to_another_process() -> None:
    assert cloudpickle.loads(cloudpickle.dumps(kodosumi_prefect)) is kodosumi_prefect
