"""Begins a nursery in a process that is nobody's child: ``python -m`` it, arguments as there."""

import os
from importlib import import_module


def main() -> None:
    """Leave the family of whoever started this, which would end it, too; then import Prefect."""
    if os.fork():
        os._exit(0)
    os.setsid()
    import_module("kodosumi_prefect.runner.nursery").main()


if __name__ == "__main__":
    main()
