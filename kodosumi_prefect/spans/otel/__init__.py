"""What spans of OpenTelemetry say of models, tools and agents, in whichever dialect."""

from kodosumi_prefect.spans.otel.dialects import Told, told
from kodosumi_prefect.spans.otel.payloads import begin_of, end_of

__all__ = ["Told", "begin_of", "end_of", "told"]
