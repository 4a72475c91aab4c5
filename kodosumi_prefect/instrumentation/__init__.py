"""Spans of what other libraries do in a run, recorded without a change to the author's code.

Each library has a module here and a line in ``sources``. ``switch_on`` is called once in each
process that has to do with an execution; it imports nothing of a library until the library itself
is imported.
"""

from kodosumi_prefect.instrumentation.sources import switch_on

switch_on()
