"""Money and tokens as people read them."""


def dollars(amount: float) -> str:
    """US dollars: cents, and what is less than a dollar more exactly."""
    if amount >= 1 or amount == 0:
        return f"${amount:,.2f}"
    return f"${amount:.4f}" if amount >= 0.0001 else "under $0.0001"


def tokens(count: int) -> str:
    """Tokens in a few characters, such as ``12.3k tokens``."""
    for least, unit in ((1_000_000_000, "G"), (1_000_000, "M"), (1_000, "k")):
        if count >= least:
            return f"{count / least:.3g}{unit} tokens"
    return "1 token" if count == 1 else f"{count} tokens"


def taken(cost: float, input_tokens: int, output_tokens: int, unpriced: int) -> str | None:
    """What calls of models took, in a few words; None if that is nothing.

    Arguments:
        cost: US dollars, of the calls whose price is known.
        unpriced: how many calls have no known price.
    """
    count = input_tokens + output_tokens
    if not (cost or count or unpriced):
        return None
    parts = []
    if cost or not unpriced:
        parts.append(f"{'over ' if unpriced else ''}{dollars(cost)}")
    if count:
        parts.append(tokens(count))
    return ", ".join(parts) or "of unknown price"


def taken_exactly(cost: float, input_tokens: int, output_tokens: int, unpriced: int) -> str:
    """As ``taken``, in all detail."""
    text = f"${cost:,.6f}; {input_tokens:,} tokens in, {output_tokens:,} out"
    if unpriced:
        calls = "1 call" if unpriced == 1 else f"{unpriced:,} calls"
        text += f"; the price of {calls} is not known"
    return text
