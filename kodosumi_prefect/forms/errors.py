"""What was wrong with a filled-in form."""

from kodosumi_prefect.error import KodosumiError

GENERAL = "_global_"  # the key of messages that belong to no field


class InputsError(KodosumiError):
    """Inputs that people have to change; raised by handlers, answered with the form.

    Example:
        ```python
        if inputs["end"] < inputs["start"]:
            raise InputsError("The dates do not fit.", end="is before the start")
        ```

    Truthy when it holds errors, so that a handler can collect them and raise it at the end.

    Arguments:
        messages: texts that belong to no field.
        fields: a message for each field named.

    Attributes:
        errors: messages by field; those of no field under ``_global_``.
    """

    def __init__(self, /, *messages: str, **fields: str) -> None:
        super().__init__(*messages)
        self.errors: dict[str, list[str]] = {}
        for message in messages:
            self.flash(message)
        self.add(**fields)

    def __reduce__(self) -> tuple[object, ...]:
        return _rebuilt, (self.args, self.errors)

    def add(self, /, **fields: str) -> None:
        """Add a message to each field named."""
        for name, message in fields.items():
            self.errors.setdefault(name, []).append(message)

    def flash(self, /, message: str) -> None:
        """Add a message that belongs to no field."""
        self.errors.setdefault(GENERAL, []).append(message)

    def has_errors(self) -> bool:
        """Whether it holds any message."""
        return any(self.errors.values())

    def __bool__(self) -> bool:
        return self.has_errors()

    def __str__(self) -> str:
        return "; ".join(
            message if name == GENERAL else f"{name}: {message}"
            for name, messages in self.errors.items()
            for message in messages
        )


def _rebuilt(messages: tuple[str, ...], errors: dict[str, list[str]]) -> InputsError:
    error = InputsError(*messages)
    error.errors = errors
    return error
