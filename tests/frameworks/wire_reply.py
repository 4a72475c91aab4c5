"""What a model answers, whichever provider's format it is told in."""

from typing import Any, NamedTuple


class Asked(NamedTuple):
    """A tool that the model wants to be called."""

    name: str
    arguments: dict[str, Any]


class Reply(NamedTuple):
    """An answer.

    Attributes:
        text: comes in pieces of a word where it is streamed.
        tools: calls that are asked for.
        tokens: of input, the cached ones included, of output, cached, of reasoning.
        status: of HTTP; another one than 200 is a refusal.
        cut_after: events of a stream after which the connection breaks.
    """

    text: str = ""
    tools: tuple[Asked, ...] = ()
    tokens: tuple[int, int, int, int] = (20, 5, 4, 1)
    status: int = 200
    cut_after: int | None = None

    @property
    def pieces(self) -> list[str]:
        words = self.text.split(" ")
        return [word if not number else f" {word}" for number, word in enumerate(words) if word]
