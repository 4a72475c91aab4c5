"""A service that takes files, asks for one more, and leaves one."""

from typing import Any

from kodosumi_prefect import Tracer
from kodosumi_prefect.core import Launch, ServeAPI, forms

form = forms.Model(
    forms.InputFiles("papers", "Papers", required=True, multiple=True, accept=".txt"),
    forms.Checkbox("ask", "Ask for another one"),
)
app = ServeAPI(title="Files")


@app.enter("/", model=form, summary="Join files")
async def enter(inputs: dict[str, Any], request: Any) -> Launch:
    return Launch(request, "tests.samples.file_service:join", inputs=inputs)


@app.lock("more")
def more() -> forms.Model:
    return forms.Model(forms.InputFiles("more", "One more", required=True))


async def join(inputs: dict[str, Any], tracer: Tracer) -> dict[str, Any]:
    answers: dict[str, Any] = {}
    if inputs["ask"]:
        own = forms.Model(forms.InputFiles("extra", "Extra", required=True))
        answers |= await tracer.lock("extra", form=own)
        answers |= await tracer.lock("more")
    text = []
    async with await tracer.fs() as fs:
        for file in await fs.ls("in"):
            text.append((await fs.open(file["path"]).read_all()).decode())
    await tracer.file("joined.txt", "".join(text))
    return {"names": sorted(inputs["papers"]), "answers": answers}
