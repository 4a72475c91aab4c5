"""Stands beside a flow file, where only that file's loader finds it."""


class Tripled:
    def __init__(self, number: int) -> None:
        self.number = 3 * number


def triple(number: int) -> Tripled:
    return Tripled(number)
