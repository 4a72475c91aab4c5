"""Errors that authors of services raise."""


class KodosumiError(Exception):
    """An error whose message is meant for the people who see the run.

    Its message becomes the result of a failed run, without a type name before it.
    """
