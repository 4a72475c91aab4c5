"""Compiled code is kept whatever the environment says; imported before all other tests.

Else each of the many processes would compile this package, and pytest all tests with it.
"""

import os
import sys

os.environ.pop("PYTHONDONTWRITEBYTECODE", None)
sys.dont_write_bytecode = False
