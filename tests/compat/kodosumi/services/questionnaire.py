"""Every element of a form, by the older paths of the imports, too."""

from kodosumi.core import Launch, ServeAPI
from kodosumi.core import forms as F
from kodosumi.service.inputs.errors import InputsError
from kodosumi.service.inputs.forms import Checkbox, InputText, Model

app = ServeAPI()

ALL = Model(
    F.Markdown("# Head"),
    F.HTML("<b>bold</b>"),
    F.HR(),
    F.Break(),
    F.Errors(),
    InputText("text", "Text", value="v", placeholder="p", size=3, pattern="[a-z]*"),
    F.InputPassword("password", "Password", min_length=2, max_length=9),
    F.InputNumber("number", "Number", value=3, min_value=1, max_value=9, step=1),
    F.InputArea("area", "Area", rows=2, cols=3, max_length=100),
    F.InputDate("date", "Date", min_date="2024-01-01", max_date="2030-01-01"),
    F.InputTime("time", "Time", min_time="01:00", max_time="23:00", step=60),
    F.InputDateTime("moment", "Moment", min_datetime="2024-01-01T00:00", step=60),
    Checkbox("check", "Option", label="Check", value=True),
    F.Select("select", [F.InputOption("one", "One"), F.InputOption("two", "Two")], value="two"),
    F.Action("action", "act", text="Act"),
    F.Submit("Submit"),
    F.Cancel("Cancel"),
)


def answer(inputs):
    return {"seen": repr(inputs)}


@app.enter("/", ALL, summary="Questionnaire")
async def enter(request, inputs: dict):
    if inputs["text"] == "launch":
        return Launch(request, "questionnaire:answer", inputs=inputs)
    raise InputsError(text=repr(sorted(inputs.items())))
