"""Configures logging as its author likes it, speaks, and writes its fid to a file."""

import logging
import sys
from pathlib import Path

from kodosumi_prefect import flow


@flow
def configures() -> None:
    logging.basicConfig(force=True, format="as the author wants it: %(message)s")
    logging.getLogger("author").warning("configured")
    print("printed")
    print("to stderr", file=sys.stderr)


if __name__ == "__main__":
    state = configures(return_state=True)
    Path(sys.argv[1]).write_text(str(state.state_details.flow_run_id))
