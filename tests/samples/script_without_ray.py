"""Records where Ray cannot be imported; says so if it was tried."""

import sys
from importlib.machinery import PathFinder


class WithoutRay(PathFinder):
    """The import system as it is where Ray is not installed."""

    @classmethod
    def find_spec(cls, fullname, path=None, target=None):
        if fullname.partition(".")[0] in ("ray", "prefect_ray"):
            return None
        return super().find_spec(fullname, path, target)


if "blocked" in sys.argv:
    sys.meta_path[sys.meta_path.index(PathFinder)] = WithoutRay

import prefect  # noqa: E402
from prefect.task_runners import ThreadPoolTaskRunner  # noqa: E402

import kodosumi_prefect  # noqa: E402
from kodosumi_prefect import tracer  # noqa: E402


@prefect.task
def work(number: int) -> int:
    tracer.debug(f"working on {number}")
    print(f"printed {number}")
    return number


@prefect.flow(task_runner=ThreadPoolTaskRunner(max_workers=2))
def plain(number: int) -> int:
    tracer.debug("plain begins")
    return work.submit(number).result()


@kodosumi_prefect.flow
def ours(tracer) -> int:
    return work.submit(8).result() if "blocked" in sys.argv else 8


if __name__ == "__main__":
    for flow, given in ((plain, {"number": 7}), (ours, {})):
        print("fid", flow(**given, return_state=True).state_details.flow_run_id)
    loaded = [name for name in sys.modules if name.partition(".")[0] == "ray"]
    print("ray", "loaded" if loaded else "not loaded")
