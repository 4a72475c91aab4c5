"""The NOTIFY channels of a schema, each named once."""


def events(schema: str) -> str:
    """Names the executions that have new events."""
    return schema


def settled_locks(schema: str) -> str:
    """Names the ids of locks that are no longer open."""
    return f"{schema}_lease"


def workers(schema: str) -> str:
    """Carries messages to the workers; see ``worker_messages``."""
    return f"{schema}_worker"
