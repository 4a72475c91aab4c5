"""What a Kodosumi service imports."""

from kodosumi_prefect import forms, response
from kodosumi_prefect.error import KodosumiError
from kodosumi_prefect.forms import InputsError
from kodosumi_prefect.launch.launch import Launch
from kodosumi_prefect.serve.api import ServeAPI
from kodosumi_prefect.serve.jinja import Templates
from kodosumi_prefect.tracer import Tracer, TracerMock

__all__ = [
    "InputsError",
    "KodosumiError",
    "Launch",
    "ServeAPI",
    "Templates",
    "Tracer",
    "TracerMock",
    "forms",
    "response",
]
