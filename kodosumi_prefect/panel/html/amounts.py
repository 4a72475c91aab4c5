"""Tokens and money in words; ``trace-words.js`` has the same."""


def dollars(cost: float | None) -> str:
    """US dollars with as many digits as tell something; empty if they are not known."""
    if cost is None:
        return ""
    if cost == 0:
        return "$0"
    if cost < 0.0001:
        return "< $0.0001"
    return f"${cost:.4f}" if cost < 0.1 else f"${cost:,.2f}"


def tokens(count: int | None) -> str:
    """A number of tokens in few digits."""
    if count is None:
        return ""
    if count < 10_000:
        return f"{count:,}"
    if count < 999_500:
        return f"{count / 1000:.3g}k"
    return f"{count / 1_000_000:,.1f}M"
