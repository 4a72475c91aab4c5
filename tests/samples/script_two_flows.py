"""Two flows with tasks on Ray, one after the other; says how often it connected."""

import ray

from tests.samples.on_ray import squares

if __name__ == "__main__":
    init, calls = ray.init, []
    ray.init = lambda *args, **kwargs: calls.append(args) or init(*args, **kwargs)
    for numbers in ([1, 2], [3, 4]):
        state = squares(numbers, return_state=True)
        print("fid", state.state_details.flow_run_id)
        print("job", ray.get_runtime_context().get_job_id())
        print("result", state.result())
    print("connected", len(calls))
