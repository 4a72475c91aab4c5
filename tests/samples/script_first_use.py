"""Uses Ray in a flow before its first submit, in the way that its argument names."""

import sys

import prefect

from kodosumi_prefect.task_runner import RayTaskRunner


@prefect.task
def square(number: int) -> int:
    return number * number


def use(way: str) -> None:
    import ray

    if way == "put":
        assert ray.get(ray.put(1)) == 1
    elif way == "remote":
        assert ray.get(ray.remote(lambda: 1).remote()) == 1
    elif way == "init":
        ray.init()
    elif way == "init unless":
        if not ray.is_initialized():
            ray.init(namespace="other")
    elif way == "ignore":
        ray.init(ignore_reinit_error=True)
    elif way == "thread":
        import threading

        thread = threading.Thread(target=ray.put, args=(1,))
        thread.start()
        thread.join()


@prefect.flow(task_runner=RayTaskRunner(init_kwargs={"namespace": "ours"}))
def uses(way: str) -> None:
    use(way)
    import ray

    if way == "nothing":
        print("connected", ray.is_initialized())
        return
    context = ray.get_runtime_context()
    print("cluster", context.gcs_address)
    print("namespace", context.namespace)
    job = context.get_job_id()
    print("square", square.submit(3).result())
    print("same job", ray.get_runtime_context().get_job_id() == job)


@prefect.flow(task_runner=RayTaskRunner())
def idle() -> None:
    print("ray", "imported" if "ray._private.worker" in sys.modules else "not imported")


if __name__ == "__main__":
    if "lazy" in sys.argv:
        from prefect_ray.context import remote_options  # noqa: F401
    idle()
    if "early" in sys.argv:
        import ray  # noqa: F401
    uses(sys.argv[1])
