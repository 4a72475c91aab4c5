"""A flow in an image of the release before; prints its execution and the package's place."""

import logging

import kodosumi_prefect
from kodosumi_prefect import Tracer, flow


@flow(name="older-image", summary="Of an image that was not upgraded")
def older(inputs: dict, tracer: Tracer) -> str:
    print("printed by an older image")
    logging.getLogger("older").warning("logged by an older image")
    tracer.debug("said by an older image")
    return tracer.fid


if __name__ == "__main__":
    print(older({"a": 1}), kodosumi_prefect.__file__)
