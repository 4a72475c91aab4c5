"""Waits for a task on Ray that does not end by itself; ``argv`` is the marker file."""

import sys

from tests.samples.on_ray import waits

if __name__ == "__main__":
    waits(sys.argv[1])
