"""How far prime numbers lie apart, counted in parts on Ray."""

from collections import Counter
from itertools import compress, pairwise
from math import isqrt
from typing import Annotated, TypedDict

from prefect import task
from prefect.futures import as_completed
from pydantic import Field

from kodosumi_prefect import Tracer, flow

WINDOW = 1 << 20  # odd numbers sieved at once, one byte each
MOST_FREQUENT = 10  # gaps in the final table


class Part(TypedDict):
    """The primes of ``start <= prime < stop``, and the gaps between neighbours among them."""

    start: int
    stop: int
    primes: int
    first: int | None
    last: int | None
    gaps: dict[int, int]
    largest_gap: int
    largest_gap_after: int | None


class Frequency(TypedDict):
    """How often two neighbouring primes are ``gap`` apart; ``share`` of all gaps, 0 to 1."""

    gap: int
    count: int
    share: float


class Gaps(TypedDict):
    """The primes below ``limit``; the largest gap follows the prime ``largest_gap_after``."""

    limit: int
    primes: int
    largest_gap: int
    largest_gap_after: int | None
    most_frequent_gaps: list[Frequency]


@flow(
    summary="Distribution of prime gaps",
    description="Counts the gaps between the primes below a limit, in parts that run on Ray.",
    tags=["example", "ray"],
)
def prime_gaps(
    tracer: Tracer,
    limit: Annotated[int, Field(ge=2, le=1_000_000_000)] = 1_000_000,
    parts: Annotated[int, Field(ge=1, le=256)] = 8,
) -> Gaps:
    """Count the gaps between the primes below ``limit``, in Prefect tasks on Ray.

    Arguments:
        limit: primes below this are counted.
        parts: parts that the numbers are split in, each a task.
    """
    spans = split(limit, parts)
    tracer.markdown(f"# Prime gaps below {limit:,}", f"{len(spans)} parts")
    futures = [
        count_gaps.submit(number, start, stop) for number, (start, stop) in enumerate(spans, 1)
    ]
    done: list[Part] = []
    primes = 0
    for future in as_completed(futures):
        part = future.result()
        done.append(part)
        primes += part["primes"]
        tracer.markdown(describe(part))
        tracer.progress(len(done), len(spans), f"{primes:,} primes so far")
    gaps = joined(limit, done)
    tracer.markdown(table(gaps))
    return gaps


@task(task_run_name="part-{number}", retries=2, retry_delay_seconds=1)
def count_gaps(number: int, start: int, stop: int) -> Part:
    """Count primes and gaps of ``start <= prime < stop``, in windows of bounded memory."""
    print(f"part {number}: sieving {start:,} to {stop:,}")
    part = empty(start, stop)
    for low in range(start, stop, 2 * WINDOW):
        primes = primes_between(low, min(low + 2 * WINDOW, stop))
        if not primes:
            continue
        # The last prime of the window before, so that the gap across windows counts too.
        chain = primes if part["last"] is None else [part["last"], *primes]
        extend(part, chain)
        part["primes"] += len(primes)
    print(f"part {number}: {part['primes']:,} primes")
    return part


def split(limit: int, parts: int) -> list[tuple[int, int]]:
    """The numbers below ``limit`` as up to ``parts`` spans ``(start, stop)``, none of them empty.

    Spans start at even numbers, but for the first, which starts at 2 as well.
    """
    numbers = limit - 2
    width = max(-(-numbers // parts), 1)
    width += width % 2
    starts = range(2, limit, width)
    return [(start, min(start + width, limit)) for start in starts]


def primes_between(start: int, stop: int) -> list[int]:
    """The primes of ``start <= prime < stop`` by a sieve over the odd numbers."""
    odd = max(start | 1, 3)
    two = [2] if start <= 2 < stop else []
    size = (stop - odd + 1) // 2
    if size <= 0:
        return two
    marks = bytearray(b"\x01") * size
    for prime in odd_primes_to(isqrt(stop - 1)):
        # The first odd multiple that a smaller prime has not struck out already.
        first = max(prime * prime, (-(-odd // prime) | 1) * prime)
        index = (first - odd) // 2
        if index < size:
            marks[index::prime] = bytes(len(range(index, size, prime)))
    return two + list(compress(range(odd, stop, 2), marks))


def odd_primes_to(most: int) -> list[int]:
    """The odd primes up to ``most``, which is small: the square root of what is sieved."""
    marks = bytearray(b"\x01") * (most + 1)
    for number in range(3, isqrt(most) + 1, 2):
        if marks[number]:
            marks[number * number :: number] = bytes(len(range(number * number, most + 1, number)))
    return [number for number in range(3, most + 1, 2) if marks[number]]


def empty(start: int, stop: int) -> Part:
    """A part before any of its primes is known."""
    return Part(
        start=start,
        stop=stop,
        primes=0,
        first=None,
        last=None,
        gaps={},
        largest_gap=0,
        largest_gap_after=None,
    )


def extend(part: Part, chain: list[int]) -> None:
    """Add the gaps between neighbours of a chain of primes, which continues the part's own."""
    gaps = Counter(part["gaps"])
    gaps.update(after - before for before, after in pairwise(chain))
    part["gaps"] = dict(gaps)
    # max takes the first of equals, and an earlier chain's gap wins against an equal one.
    before, after = max(pairwise(chain), key=lambda pair: pair[1] - pair[0], default=(0, 0))
    if after - before > part["largest_gap"]:
        part["largest_gap"] = after - before
        part["largest_gap_after"] = before
    part["first"] = chain[0] if part["first"] is None else part["first"]
    part["last"] = chain[-1]


def joined(limit: int, parts: list[Part]) -> Gaps:
    """All parts, in whatever order they came, as one distribution up to ``limit``."""
    whole = empty(2, limit)
    for part in sorted(parts, key=lambda part: part["start"]):
        if part["first"] is None or part["last"] is None:
            continue
        if whole["last"] is not None:
            extend(whole, [whole["last"], part["first"]])
        whole["gaps"] = dict(Counter(whole["gaps"]) + Counter(part["gaps"]))
        if part["largest_gap"] > whole["largest_gap"]:
            whole["largest_gap"] = part["largest_gap"]
            whole["largest_gap_after"] = part["largest_gap_after"]
        whole["primes"] += part["primes"]
        whole["last"] = part["last"]
    total = sum(whole["gaps"].values())
    frequent = sorted(whole["gaps"].items(), key=lambda item: (-item[1], item[0]))
    return Gaps(
        limit=limit,
        primes=whole["primes"],
        largest_gap=whole["largest_gap"],
        largest_gap_after=whole["largest_gap_after"],
        most_frequent_gaps=[
            Frequency(gap=gap, count=count, share=round(count / total, 6))
            for gap, count in frequent[:MOST_FREQUENT]
        ],
    )


def describe(part: Part) -> str:
    """What a finished part found, in one line of markdown."""
    line = f"**{part['start']:,} to {part['stop']:,}**: {part['primes']:,} primes"
    if part["largest_gap_after"] is not None:
        line += f", largest gap {part['largest_gap']} after {part['largest_gap_after']:,}"
    return line


def table(gaps: Gaps) -> str:
    """The whole distribution as markdown."""
    lines = [f"## {gaps['primes']:,} primes below {gaps['limit']:,}", ""]
    if gaps["largest_gap_after"] is None:
        return "\n".join([*lines, "Fewer than two primes, so there are no gaps."])
    lines += [
        f"The largest gap is **{gaps['largest_gap']}**, after {gaps['largest_gap_after']:,}.",
        "",
        "| gap | count | share |",
        "|---:|---:|---:|",
    ]
    lines += [
        f"| {row['gap']} | {row['count']:,} | {row['share']:.1%} |"
        for row in gaps["most_frequent_gaps"]
    ]
    return "\n".join(lines)


if __name__ == "__main__":
    prime_gaps()
