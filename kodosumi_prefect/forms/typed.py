"""Forms made from pydantic models, checked by them."""

import json
from collections.abc import Mapping
from typing import Any, TypeVar

from pydantic import BaseModel, ValidationError

from kodosumi_prefect.forms.display import Markdown
from kodosumi_prefect.forms.errors import InputsError
from kodosumi_prefect.forms.schema import from_schema
from kodosumi_prefect.forms.structured import StructuredModel

M = TypeVar("M", bound=BaseModel)


class TypedModel(StructuredModel):
    """A form whose values a pydantic model accepts."""

    typed: type[BaseModel]

    def read(self, data: Mapping[str, Any]) -> dict[str, Any]:
        values = super().read(data)
        self.instance_of(values)
        return values

    def instance_of(self, values: Mapping[str, Any]) -> BaseModel:
        """The model made of values that ``read`` gave.

        Raises:
            InputsError: the model does not accept them.
        """
        try:
            # As JSON, in which a date is text even for models that are strict.
            return self.typed.model_validate_json(json.dumps(values))
        except ValidationError as invalid:
            raise self.inputs_error(invalid) from None

    def inputs_error(self, invalid: ValidationError) -> InputsError:
        """The errors of a pydantic model, at the fields they belong to."""
        errors = InputsError()
        names = {place.path: name for name, place in self.places.items()}
        for error in invalid.errors(include_input=False, include_url=False):
            loc = tuple(str(part) for part in error["loc"])
            message = error["msg"].removeprefix("Value error, ").removeprefix("Assertion failed, ")
            for length in range(len(loc), 0, -1):
                if (name := names.get(loc[:length])) is not None:
                    rest = ".".join(loc[length:])
                    errors.add(**{name: f"{rest}: {message}" if rest else message})
                    break
            else:
                errors.flash(f"{'.'.join(loc)}: {message}" if loc else message)
        return errors


def from_pydantic(
    model: type[BaseModel],
    defaults: Mapping[str, Any] | None = None,
    *,
    submit: str | None = "Submit",
) -> TypedModel:
    """The form of a pydantic model; ``read`` gives values that the model accepts.

    Example:
        ```python
        class Order(BaseModel):
            article: str
            count: int = Field(1, ge=1)

        form = from_pydantic(Order)
        Order.model_validate(form.read({"article": "pencil", "count": "3"}))
        ```

    A ``title`` in the model's configuration stands above the form, ``submit`` of its
    ``json_schema_extra`` on the button.

    Arguments:
        model: its fields become elements as ``from_schema`` has it.
        defaults: values that count before the model's own.
        submit: what the button says where the model does not; None for no button.

    Raises:
        pydantic.errors.PydanticInvalidForJsonSchema: a field's type has no JSON schema.
    """
    schema = model.model_json_schema()
    if submit is not None and isinstance(own := schema.get("submit"), str):
        submit = own
    plain = from_schema(schema, defaults, submit=submit)
    heading = [Markdown(f"## {title}")] if (title := model.model_config.get("title")) else []
    form = TypedModel([*heading, *plain.children], plain.places)
    form.typed = model
    return form


def instance(model: type[M], values: Mapping[str, Any]) -> M:
    """A pydantic model made of what was posted to its form.

    Raises:
        InputsError: with a message for each field that does not fit.
    """
    form = from_pydantic(model)
    result = form.instance_of(StructuredModel.read(form, values))
    assert isinstance(result, model)
    return result
