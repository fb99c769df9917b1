"""TimeIsUp and look(): the time limit of a search, where trials are scored or write."""

from collections.abc import Callable

IsOver = Callable[..., bool]
"""Asked between steps, and told which: whether the segment is to end where it is."""


class TimeIsUp(Exception):
    """The time limit of a search was reached while trials were scored on report, or were
    writing.
    """


def look(is_over: IsOver | None, step: int) -> None:
    """`TimeIsUp` if `is_over`, which is told the step that trials stand on, says so."""
    if is_over is not None and is_over(step):
        raise TimeIsUp
