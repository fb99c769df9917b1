"""one_line(): another library's error in one line."""

from collections.abc import Sequence


def one_line(error: BaseException) -> str:
    """The error's first line that says something, with the next where it ends in a colon;
    shortened.
    """
    lines = [line.strip() for line in str(error).splitlines() if line.strip()]
    text = lines[0] if lines else type(error).__name__
    for line in lines[1:]:
        if not text.endswith(":"):
            break
        text = f"{text} {line}"
    return text if len(text) <= 240 else text[:237] + "..."


def numbered(rows: Sequence[int], most: int = 8) -> str:
    """The numbers of rows, the first ones.

    >>> numbered([1, 2, 3], most=2)
    '1, 2, ...'
    """
    return ", ".join(map(str, rows[:most])) + (", ..." if len(rows) > most else "")
