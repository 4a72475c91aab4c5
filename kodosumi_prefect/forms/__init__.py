"""Forms: what people fill in before an agentic service starts, and while it waits for them."""

from kodosumi_prefect.forms.choice import Checkbox, InputOption, Select
from kodosumi_prefect.forms.display import (
    HR,
    HTML,
    Action,
    Break,
    Cancel,
    Errors,
    Markdown,
    Submit,
)
from kodosumi_prefect.forms.element import Element, Field
from kodosumi_prefect.forms.errors import InputsError
from kodosumi_prefect.forms.files import Files, InputFiles
from kodosumi_prefect.forms.model import Model
from kodosumi_prefect.forms.moment import InputDate, InputDateTime, InputTime
from kodosumi_prefect.forms.number import InputNumber
from kodosumi_prefect.forms.schema import from_schema
from kodosumi_prefect.forms.text import InputArea, InputPassword, InputText
from kodosumi_prefect.forms.typed import from_pydantic, instance

__all__ = [
    "HR",
    "HTML",
    "Action",
    "Break",
    "Cancel",
    "Checkbox",
    "Element",
    "Errors",
    "Field",
    "Files",
    "InputArea",
    "InputDate",
    "InputDateTime",
    "InputFiles",
    "InputNumber",
    "InputOption",
    "InputPassword",
    "InputText",
    "InputTime",
    "InputsError",
    "Markdown",
    "Model",
    "Select",
    "Submit",
    "from_pydantic",
    "from_schema",
    "instance",
]
