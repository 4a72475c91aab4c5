"""A flow that Prefect loads from this file, as its worker does."""

from filed_helper import Tripled, triple
from prefect import task

from kodosumi_prefect import Tracer, flow


@task
def work(number: int) -> Tripled:
    print(f"tripling {number}")
    return triple(number)


@flow
def filed(number: int, tracer: Tracer) -> int:
    return work.submit(number).result().number
