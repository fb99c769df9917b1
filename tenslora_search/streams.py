"""Where the command prints: a reader that has gone away, a full disk or a stream that was closed
end nothing.
"""

import contextlib
import os
import sys
from collections.abc import Iterator
from io import TextIOWrapper


def open_streams() -> None:
    """Puts the null device where a standard stream is closed: the next file that is opened would
    take its number, and be written to by all that prints.
    """
    for number in range(3):
        try:
            os.fstat(number)
        except OSError:
            os.open(os.devnull, os.O_RDWR)
    for name in ("stdout", "stderr"):
        if getattr(sys, name) is None:
            setattr(sys, name, open(os.devnull, "w", encoding="utf-8"))  # noqa: PTH123, SIM115
    if isinstance(sys.stdout, TextIOWrapper):
        sys.stdout.reconfigure(errors="replace")  # where a terminal lacks the signs of the table


@contextlib.contextmanager
def printing() -> Iterator[None]:
    """What is printed inside is lost, and nothing else, where nobody reads it any more, or the disk
    behind it is full.
    """
    try:
        yield
        sys.stdout.flush()
    except (OSError, SystemExit):  # the latter is how rich says it
        _mute()


def unsaid(error: OSError | None = None) -> str:
    """Why the last of what was printed (where `error` was raised) is lost; "" if it is not, or if
    who reads has read enough, as in `list methods | head`.
    """
    try:
        if error is not None:
            raise error
        sys.stdout.flush()
    except BrokenPipeError:
        _mute()
    except OSError as wrong:
        _mute()
        return wrong.strerror or str(wrong)
    return ""


def _mute() -> None:
    """Nothing more is printed, at the interpreter's end neither."""
    with contextlib.suppress(OSError, ValueError):
        nowhere = os.open(os.devnull, os.O_WRONLY)
        os.dup2(nowhere, sys.stdout.fileno())
        os.close(nowhere)
