"""A flow in an image of the release before; prints its execution and the package's place.

With parameters in LAUNCHED it executes what a service of today launched, and prints the result.
"""

import json
import logging
import os

import kodosumi_prefect
from kodosumi_prefect import Tracer, flow


@flow(name="older-image", summary="Of an image that was not upgraded")
def older(inputs: dict, tracer: Tracer) -> str:
    print("printed by an older image")
    logging.getLogger("older").warning("logged by an older image")
    tracer.debug("said by an older image")
    return tracer.fid


def given(inputs: dict) -> dict:
    return inputs


if __name__ == "__main__":
    if launched := os.environ.get("LAUNCHED"):
        from kodosumi_prefect.serve.entrypoint import run_entrypoint

        # An image that knows typed values gives a date back, an older one its text.
        print(json.dumps(run_entrypoint(**json.loads(launched)), default=str))
    print(older({"a": 1}), kodosumi_prefect.__file__)
