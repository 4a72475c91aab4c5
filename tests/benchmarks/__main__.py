"""``make bench``: every benchmark, each beside something measured in the same run."""

import os
import sys

# The console would be measured along with the logger.
os.environ.setdefault("PREFECT_LOGGING_HANDLERS_CONSOLE_LEVEL", "ERROR")

from tests.benchmarks import (
    change_listeners,
    emit_cost,
    executions_list,
    files_of_runs,
    files_transfer,
    ingest,
    latency,
    launches,
    leases,
    long_run,
    page_weight,
    run_cost,
    span_cost,
    spooler_actor,
    sse_clients,
    starts,
    suspended,
    task_values,
    throughput,
    trace_page,
    viewers,
    webhooks,
)
from tests.benchmarks.harness import machine, services


def main() -> None:
    chosen = sys.argv[1:]
    print(f"measured on {machine()}")
    with services() as (settings, url):
        if not chosen or "emit_cost" in chosen:
            emit_cost.run()
        if not chosen or "span_cost" in chosen:
            span_cost.run()
        if not chosen or "throughput" in chosen:
            throughput.run(url)
        if not chosen or "ingest" in chosen:
            ingest.run(settings, url)
        if not chosen or "latency" in chosen:
            latency.run(settings, url)
        if not chosen or "leases" in chosen:
            leases.run(settings, url)
        if not chosen or "spooler_actor" in chosen:
            spooler_actor.run(settings, url)
        if not chosen or "launches" in chosen:
            launches.run(settings, url)
        if not chosen or "webhooks" in chosen:
            webhooks.run(settings, url)
    if not chosen or "run_cost" in chosen:
        run_cost.run()
    if not chosen or "starts" in chosen:
        starts.run()
    if not chosen or "suspended" in chosen:
        suspended.run()
    if not chosen or "task_values" in chosen:
        task_values.run()
    if not chosen or "executions_list" in chosen:
        executions_list.run()
    if not chosen or "files_transfer" in chosen:
        files_transfer.run()
    if not chosen or "files_of_runs" in chosen:
        files_of_runs.run()
    if not chosen or "sse_clients" in chosen:
        sse_clients.main([])
    if not chosen or "change_listeners" in chosen:
        change_listeners.main([])
    if not chosen or "viewers" in chosen:
        viewers.run()
    if not chosen or "long_run" in chosen:
        long_run.run()
    if not chosen or "page_weight" in chosen:
        page_weight.run()
    if not chosen or "trace_page" in chosen:
        trace_page.run()


if __name__ == "__main__":
    main()
