"""Forms made from pydantic models and from the parameters of Prefect flows."""

import datetime
import enum
import itertools
from typing import Annotated, Any, Literal, Optional

import pytest
from prefect import flow
from prefect.utilities.callables import parameter_schema
from pydantic import BaseModel, ConfigDict, Field, SecretStr, field_validator, model_validator

from kodosumi_prefect import forms as F


class Colour(enum.Enum):
    RED = "red"
    BLUE = 2


class Address(BaseModel):
    street: str
    number: int | None = None


class Order(BaseModel):
    article: str = Field(min_length=2, max_length=30, title="What", description="as in the list")
    count: int = Field(1, ge=1, le=9)
    price: float | None = None
    colour: Colour = Colour.RED
    size: Literal["S", "M"] = "M"
    address: Address
    second: Address | None = None
    labels: list[str] = []
    gift: bool = False
    fragile: bool | None = None
    day: datetime.date = datetime.date(2026, 1, 1)
    at: Optional[datetime.time] = None  # noqa: UP045  (another way to say so)
    due: datetime.datetime | None = None
    token: SecretStr
    code: Annotated[str, Field(pattern="^[A-Z]{3}$")] = "ABC"
    either: int | str = 3
    anything: Any = None
    note: str | None = "hello"

    @field_validator("labels")
    @classmethod
    def few(cls, value):
        if len(value) > 2:
            raise ValueError("are too many")
        return value

    @model_validator(mode="after")
    def fits(self):
        if self.gift and self.count > 3:
            raise ValueError("a gift of at most 3")
        return self


MINIMUM = {"article": "pencil", "address.street": "Main", "token": "hidden"}


def by_name(form):
    return {each.get("name"): each for each in form.get_model()}


def test_each_type_gets_its_element():
    elements = by_name(F.from_pydantic(Order))
    assert {name: each["type"] for name, each in elements.items() if name} == {
        "article": "text",
        "count": "number",
        "price": "number",
        "colour": "select",
        "size": "select",
        "address.street": "text",
        "address.number": "number",
        "second": "textarea",
        "labels": "textarea",
        "gift": "boolean",
        "fragile": "select",
        "day": "date",
        "at": "time",
        "due": "datetime-local",
        "token": "password",
        "code": "text",
        "either": "text",
        "anything": "textarea",
        "note": "text",
    }
    article, count = elements["article"], elements["count"]
    assert (article["label"], article["help"]) == ("What", "as in the list")
    assert "help" not in elements["note"]
    assert article["required"] and not count["required"]
    assert (count["value"], count["min_value"], count["max_value"], count["step"]) == (1, 1, 9, 1)
    assert elements["size"]["value"] == "M"
    assert elements["code"]["pattern"] == "[A-Z]{3}"
    assert elements["day"]["value"] == "2026-01-01"
    assert elements["token"]["value"] is None


def test_a_model_s_configuration_has_words_for_its_form():
    class Booking(BaseModel):
        model_config = ConfigDict(title="A booking", json_schema_extra={"submit": "Book"})
        size: Annotated[Literal["S", "M"], Field(description="in the list")] = "S"

    heading, _, size, button = F.from_pydantic(Booking).get_model()
    assert heading == {"type": "markdown", "text": "## A booking"}
    assert size["help"] == "in the list"
    assert button["text"] == "Book"
    assert F.from_pydantic(Booking, submit=None).get_model()[-1]["type"] == "select"
    assert F.Model.from_elements(F.from_pydantic(Booking).get_model()).get_model()[2] == size


def test_the_model_accepts_what_its_form_reads():
    posted = MINIMUM | {
        "count": "4",
        "price": "2.5",
        "colour": "2",
        "address.number": "12",
        "labels": '["a", "b"]',
        "fragile": "true",
        "day": "2026-02-03",
        "at": "14:30",
        "due": "2026-02-03T14:30",
        "second": '{"street": "Side"}',
        "either": "5",
        "anything": '{"x": [1]}',
        "note": "",
    }
    values = F.from_pydantic(Order).read(posted)
    order = Order.model_validate(values)
    assert values["address"] == {"street": "Main", "number": 12}
    assert order.count == 4
    assert order.colour is Colour.BLUE
    assert order.labels == ["a", "b"]
    assert order.fragile is True
    assert order.day == datetime.date(2026, 2, 3)
    assert order.at == datetime.time(14, 30)
    assert order.second == Address(street="Side")
    assert order.anything == {"x": [1]}
    assert order.note is None
    assert order.token.get_secret_value() == "hidden"


def test_what_is_left_empty_has_its_default():
    order = F.instance(Order, MINIMUM | {"count": "", "labels": "", "price": "", "colour": ""})
    assert (
        order.model_dump()
        == Order(
            article="pencil", address=Address(street="Main"), token=SecretStr("hidden")
        ).model_dump()
    )


def test_clients_may_post_nested_objects_and_values():
    order = F.instance(
        Order,
        {
            "article": "pencil",
            "address": {"street": "Main", "number": 3},
            "token": "hidden",
            "labels": ["a"],
            "colour": 2,
            "fragile": False,
            "gift": True,
        },
    )
    assert (order.address.number, order.labels, order.colour) == (3, ["a"], Colour.BLUE)
    assert (order.fragile, order.gift) == (False, True)


@pytest.mark.parametrize(
    ("posted", "field", "message"),
    [
        ({"article": "x"}, "article", "at least 2"),
        ({"article": ""}, "article", "is required"),
        ({"count": "10"}, "count", "at most 9"),
        ({"count": "1.5"}, "count", "multiple of 1"),
        ({"colour": "green"}, "colour", "not one of the options"),
        ({"colour": ["red"]}, "colour", "must be text"),
        ({"address.street": ""}, "address.street", "is required"),
        ({"labels": "a, b"}, "labels", "is not valid JSON"),
        ({"labels": '{"a": 1}'}, "labels", "must be a list as JSON"),
        ({"labels": "[1, 2]"}, "labels", "0: Input should be a valid string"),
        ({"labels": '["a", "b", "c"]'}, "labels", "are too many"),
        ({"labels": "[" * 100_000}, "labels", "is not valid JSON"),
        ({"labels": '["\\u0000"]'}, "labels", "NUL"),
        ({"labels": '["\\ud800"]'}, "labels", "surrogate"),
        ({"second": "{}"}, "second", "street: Field required"),
        ({"code": "ABCD"}, "code", "does not match"),
        ({"gift": "on", "count": "5"}, "_global_", "a gift of at most 3"),
    ],
)
def test_what_the_model_refuses_is_told_at_its_field(posted, field, message):
    with pytest.raises(F.InputsError) as caught:
        F.from_pydantic(Order).read(MINIMUM | posted)
    assert list(caught.value.errors) == [field]
    assert message in caught.value.errors[field][0]


def test_secrets_are_found_at_any_depth():
    class Login(BaseModel):
        password: SecretStr

    class Service(BaseModel):
        login: Login

    form = F.from_pydantic(Service)
    assert form.secrets == {"login.password"}
    assert form.secret_values({"login": {"password": "hidden"}}) == ["hidden"]
    assert form.secret_values({"login.password": "hidden"}) == ["hidden"]


def test_a_recursive_model_ends_in_json():
    class Node(BaseModel):
        name: str
        child: "Node | None" = None
        children: list["Node"] = []

    Node.model_rebuild()
    node = F.instance(Node, {"name": "a", "child": '{"name": "b"}', "children": "[]"})
    assert node.child == Node(name="b")


def test_a_deployment_gets_a_form_with_its_own_parameters():
    @flow
    def report(region: str, days: int = 7, when: datetime.date | None = None, extra=None):
        """Make a report.

        Args:
            region: where to look
        """

    schema = parameter_schema(report).model_dump_for_openapi()
    form = F.from_schema(schema, {"region": "north"})
    elements = by_name(form)
    assert (elements["region"]["value"], elements["region"]["required"]) == ("north", False)
    assert elements["region"]["placeholder"] == "where to look"
    assert elements["days"]["value"] == 7
    assert form.read({"days": "3", "extra": "free text"}) == {"days": 3, "extra": "free text"}
    assert form.read({"region": "south", "when": "", "extra": "[1]"}) == {
        "region": "south",
        "when": None,
        "extra": [1],
    }
    with pytest.raises(F.InputsError) as caught:
        F.from_schema(schema).read({})
    assert caught.value.errors == {"region": ["is required"]}


@pytest.mark.parametrize(
    "schema",
    [
        {},
        {"properties": None},
        {"properties": {"a": True}},
        {"properties": {"a": {"$ref": "#/definitions/nowhere"}}},
        {"properties": {"a": {"$ref": "#/properties/a"}}},
        {"properties": {"a": {"anyOf": [True, {"type": "null"}]}}},
        {"properties": {"a": {"type": ["string", "null"], "allOf": "x"}}},
        {"properties": {"a": {"enum": []}}},
        {"properties": {"a": {"type": "unheard-of", "minimum": 3}}},
    ],
    ids=str,
)
def test_an_odd_schema_still_makes_a_form(schema):
    form = F.from_schema(schema)
    assert form.get_model()
    form.read({})


def test_a_schema_that_unfolds_without_end_makes_a_form_soon():
    names = "abcdef"
    wide = {
        name: {
            "type": "object",
            "properties": {f"p{number}": {"$ref": f"#/$defs/{after}"} for number in range(100)},
        }
        for name, after in itertools.pairwise(names)
    }
    root = {"properties": {"a": {"$ref": "#/$defs/a"}}, "$defs": wide}
    assert len(F.from_schema(root).fields) < 1000
