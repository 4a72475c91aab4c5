"""Whose output, and whose tracer, it is where no context tells: who is asked, in this order.

What Prefect runs here now comes first: a Ray worker remembers which native call got a tracer last.
"""

from kodosumi_prefect.adapter import capture
from kodosumi_prefect.adapter.execution import only_live
from kodosumi_prefect.adapter.ray_calls import bound_scope
from kodosumi_prefect.adapter.roots import find_scope
from kodosumi_prefect.scope import finders

capture.owners[:] = [only_live, bound_scope]
finders[:] = [only_live, find_scope, bound_scope]
