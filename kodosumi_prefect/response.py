"""Results that choose how they are shown."""


class _Body:
    """Something to show: one string, a list, or several arguments, joined with newlines."""

    def __init__(self, *parts: str | list[str], body: str | None = None) -> None:
        lines: list[str] = [] if body is None else [body]
        for part in parts:
            if isinstance(part, list):
                lines.extend(str(line) for line in part)
            else:
                lines.append(str(part))
        self.body = "\n".join(lines)

    def __repr__(self) -> str:
        return f"{type(self).__name__}({self.body!r})"

    def __eq__(self, other: object) -> bool:
        return type(other) is type(self) and other.__dict__ == self.__dict__

    def __hash__(self) -> int:
        return hash((type(self), self.body))


class Markdown(_Body):
    """Markdown text: one string, a list, or several arguments, joined with newlines."""


class HTML(_Body):
    """HTML, sanitised before anybody sees it; given like ``Markdown``."""


class Text(_Body):
    """Plain text, shown as it is; given like ``Markdown``."""
