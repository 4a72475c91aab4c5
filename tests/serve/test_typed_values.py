"""Values keep their types on the way to another process, or are refused by name."""

import json
import re
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

import pytest
from pydantic import BaseModel, SecretStr, field_validator

from kodosumi_prefect.launch.class_paths import UntravelledError
from kodosumi_prefect.launch.masking import MASK, mask_inputs, unmasked
from kodosumi_prefect.launch.typed_values import (
    Encoded,
    TooDeepError,
    decode,
    encode,
)
from tests.samples import typed
from tests.samples.typed import VALUES, differences


def through_json(encoded: Encoded) -> Encoded:
    return Encoded(*json.loads(json.dumps(encoded)))


@pytest.mark.parametrize("name", VALUES)
def test_a_value_keeps_its_type_nested_and_as_the_whole(name: str) -> None:
    value = VALUES[name]
    assert differences(decode(through_json(encode(value))), value) == []
    within = {"a": [value], "b": (value, {1: value})}
    assert differences(decode(through_json(encode(within))), within) == []


def test_json_is_stored_as_it_is() -> None:
    value = {"a": [1, 2.5, None, True, "x"], "b": {"c": {}, "$type": "date"}}
    assert encode(value) == (value, [])


def test_what_prefect_shows_stays_readable() -> None:
    encoded = encode({"due": datetime(2026, 1, 2, tzinfo=UTC), "who": typed.Address(street="Main")})
    assert encoded.json == {
        "due": "2026-01-02T00:00:00+00:00",
        "who": {"street": "Main", "extra": {}},
    }


def test_a_set_is_stored_in_one_order() -> None:
    assert encode({"b", "a", 3}) == encode({3, "a", "b"})


def local_class() -> Any:
    class Local(BaseModel):
        a: int = 1

    return Local()


@dataclass
class Held:
    value: Any


class Uncertain(BaseModel):
    value: int

    @field_validator("value")
    @classmethod
    def _value(cls, value: int) -> int:
        if value == 3:
            raise ValueError("three is refused")
        return value


def with_private() -> Any:
    value = typed.Private(name="a")
    value._count = 5
    return value


@pytest.mark.parametrize(
    ("value", "why"),
    [
        (local_class(), "cannot be imported by the process of the run"),
        (typed.Several[int](items=[1]), "give a class that derives from it"),
        (object(), "builtins.object cannot travel"),
        (lambda: 1, "cannot travel"),
        (iter([1]), "cannot travel"),
        (typed.Doubling(value=1), "makes something else"),
        (typed.WithInitVar(1), "makes something else"),
        (with_private(), "has private attributes, which do not travel"),
        (Uncertain.model_construct(value=3), "three is refused"),
        (Held({1: [open]}), "cannot travel"),
    ],
)
def test_what_cannot_travel_is_refused_by_the_name_of_its_key(value: Any, why: str) -> None:
    with pytest.raises(UntravelledError, match=re.escape(why)) as refused:
        encode({"fine": 1, "order": {"items": [1, value]}})
    assert str(refused.value).startswith("order.items[1]")
    assert "\n" not in str(refused.value)


def test_a_value_that_holds_itself_is_too_deep() -> None:
    value: dict[str, Any] = {}
    value["again"] = Held((value,))
    with pytest.raises(TooDeepError):
        encode(value)


@pytest.mark.parametrize(
    ("types", "stored", "why"),
    [
        ([[["a"], "model", "subprocess:Popen", []]], {"args": "true"}, "is no BaseModel"),
        ([[["a"], "str", "subprocess:Popen"]], "true", "is no str"),
        ([[["a"], "enum", "os:system"]], "true", "is no class"),
        ([[["a"], "dataclass", "subprocess:Popen"]], {"args": "true"}, "is no dataclass"),
        ([[["a"], "pickle"]], "x", "KeyError"),
        ([[["a"], "model", "tests.samples.typed:Gone", []]], {}, "Gone"),
        ([[["a"], "datetime"]], "never", "never"),
        ([[["a"], "model", "tests.samples.typed:Address", []]], {"street": 1}, "street"),
    ],
)
def test_types_that_somebody_made_up_call_nothing_but_values(
    types: list[Any], stored: Any, why: str
) -> None:
    with pytest.raises(UntravelledError, match=why) as refused:
        decode(Encoded({"a": stored}, types))
    assert str(refused.value).startswith("a: ")


def test_a_value_that_somebody_removed_in_prefect_is_left_out() -> None:
    encoded = encode({"due": datetime(2026, 1, 2), "other": {1}})
    assert decode(Encoded({"other": [2]}, encoded.types)) == {"other": {2}}


def test_secrets_are_masked_in_values_of_every_type() -> None:
    value = {
        "login": typed.Plain("pw-1", VALUES["date"]),
        "by number": {1: {"password": "pw-2"}, "password": "pw-3"},
        "key": SecretStr("pw-4"),
        "again": ("pw-5", {"pw-2"}),
        "order": typed.order(),
        "password": ["pw-6"],
    }
    encoded = encode(value)
    masked, secrets = mask_inputs(encoded.json, ["password"], ["pw-1", "pw-5"], encoded.types)
    text = json.dumps(masked)
    assert "pw-" not in text and "of the order" not in text
    assert masked["by number"] == [[1, {"password": MASK}], ["password", MASK]]
    again = unmasked(json.loads(text), json.loads(json.dumps(secrets)))
    assert differences(decode(Encoded(again, encoded.types)), value) == []


def test_inputs_that_are_a_secret_as_a_whole_are_masked() -> None:
    masked, secrets = mask_inputs("pw-1", ["password"], ["pw-1"])
    assert (masked, unmasked(masked, secrets)) == (MASK, "pw-1")
