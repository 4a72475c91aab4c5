"""The example that counts prime gaps on Ray."""

from collections import Counter
from itertools import pairwise
from pathlib import Path
from typing import Any

import orjson
import prefect
import pytest
import yaml
from prefect.flows import load_flow_from_entrypoint

from flows import prime_gaps
from tests.services import Place

TOP = Path(__file__).parents[2]


def slow_primes(limit: int) -> list[int]:
    """Primes below ``limit`` by trial division."""
    return [n for n in range(2, limit) if all(n % d for d in range(2, int(n**0.5) + 1))]


def counted(limit: int, parts: int) -> dict[str, Any]:
    """The distribution, its parts counted here in reverse order."""
    spans = list(enumerate(prime_gaps.split(limit, parts), 1))
    done = [prime_gaps.count_gaps.fn(number, *span) for number, span in reversed(spans)]
    return dict(prime_gaps.joined(limit, done))


@pytest.mark.parametrize("parts", [1, 2, 3, 7, 256])
@pytest.mark.parametrize("window", [1, 3, prime_gaps.WINDOW])
def test_the_distribution_is_that_of_the_primes(
    monkeypatch: pytest.MonkeyPatch, parts: int, window: int
) -> None:
    monkeypatch.setattr(prime_gaps, "WINDOW", window)
    for limit in (*range(2, 40), 1000, 1328, 1329):
        primes = slow_primes(limit)
        gaps = [after - before for before, after in pairwise(primes)]
        found = counted(limit, parts)
        assert found["primes"] == len(primes), limit
        assert found["largest_gap"] == max(gaps, default=0), limit
        if gaps:
            assert found["largest_gap_after"] == primes[gaps.index(max(gaps))], limit
        expected = sorted(Counter(gaps).items(), key=lambda item: (-item[1], item[0]))
        frequent = [(row["gap"], row["count"]) for row in found["most_frequent_gaps"]]
        assert frequent == expected[: prime_gaps.MOST_FREQUENT], limit


@pytest.mark.parametrize("limit", [2, 3, 10, 1001])
@pytest.mark.parametrize("parts", [1, 2, 8, 256])
def test_the_parts_cover_every_number_once(limit: int, parts: int) -> None:
    spans = prime_gaps.split(limit, parts)
    assert len(spans) <= parts
    assert [number for span in spans for number in range(*span)] == list(range(2, limit))


def test_ten_million_are_counted_right() -> None:
    found = counted(10_000_000, 8)
    assert found["primes"] == 664_579
    assert (found["largest_gap"], found["largest_gap_after"]) == (154, 4_652_353)


def test_a_run_tells_its_parts_as_they_finish(ray_place: Place) -> None:
    recorded = ray_place.run(prime_gaps.prime_gaps)
    assert recorded.row["error"] is None
    final = recorded.final["dict"]
    assert final["primes"] == 78_498
    assert (final["largest_gap"], final["largest_gap_after"]) == (114, 492_113)
    assert final["most_frequent_gaps"][0]["gap"] == 6
    progress = [orjson.loads(text)["dict"] for text in recorded.of("progress")]
    assert [step["done"] for step in progress] == list(range(1, 9))
    assert {step["total"] for step in progress} == {8}
    assert progress[-1]["text"] == "78,498 primes so far"
    shown = [event.value["body"] for event in recorded.events if event.kind == "result"]
    assert len(shown) == 10
    assert shown[-1].startswith("## 78,498 primes below 1,000,000")
    assert "| 6 | " in shown[-1]
    assert len(recorded.of("stdout")) == 16
    assert {event.source["task_run"]["name"] for event in recorded.events if event.kind == "stdout"}


@pytest.mark.parametrize(("limit", "parts", "primes"), [(2, 8, 0), (3, 8, 1), (10, 256, 4)])
def test_a_run_with_few_numbers_works(
    ray_place: Place, limit: int, parts: int, primes: int
) -> None:
    recorded = ray_place.run(prime_gaps.prime_gaps, limit=limit, parts=parts)
    assert recorded.row["error"] is None
    assert recorded.final["dict"]["primes"] == primes


@pytest.mark.parametrize("parameters", [{"limit": 1}, {"parts": 0}, {"limit": 2_000_000_000}])
def test_parameters_out_of_bounds_are_refused(place: Place, parameters: dict[str, int]) -> None:
    with pytest.raises(prefect.exceptions.ParameterTypeError):
        prime_gaps.prime_gaps(**parameters)


def test_every_deployment_leads_to_a_flow_that_takes_its_parameters(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.chdir(TOP)
    deployments = yaml.safe_load((TOP / "prefect.yaml").read_text())["deployments"]
    assert {deployment["name"] for deployment in deployments} == {"prime-gaps", "nightly-report"}
    for deployment in deployments:
        loaded = load_flow_from_entrypoint(deployment["entrypoint"])
        assert loaded.name == deployment["name"]
        loaded.validate_parameters(deployment["parameters"])
        assert deployment["work_pool"]["name"] == "kodosumi"
        assert deployment["schedules"]
