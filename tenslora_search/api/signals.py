"""Signals: Ctrl-C, SIGTERM and SIGHUP end a search with a report of what there is."""

import contextlib
import signal
from collections.abc import Callable
from types import FrameType
from typing import Any, Protocol


class Stop(Protocol):
    def __call__(self, *, at_once: bool = False) -> None: ...


class Stopped(BaseException):
    """A signal came before there was anything to report."""

    def __init__(self, number: int) -> None:
        super().__init__(f"ended by {signal.Signals(number).name}.")
        self.signal = number


class Signals:
    """Hears signals as long as it is a context; in a thread that is not the main one it hears none.

    Once `stop` is set, the first Ctrl-C ends the search and lets the retest and the report follow,
    the second goes straight to the report. SIGTERM and SIGHUP, after which a process has seconds to
    live, go there at once. Before that a signal raises `Stopped`, Ctrl-C `KeyboardInterrupt`.
    """

    HEARD = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)

    def __init__(self) -> None:
        self.stop: Stop | None = None
        self.received: int | None = None
        """the first that came"""
        self._before: dict[int, Callable[[int, FrameType | None], Any] | int | None] = {}

    def __enter__(self) -> "Signals":
        with contextlib.suppress(ValueError):  # not the main thread
            self._before = {one: signal.signal(one, self._hear) for one in self.HEARD}
        return self

    def listen(self) -> None:
        """Takes the signals again, where a library has taken them meanwhile."""
        for one in self._before:
            signal.signal(one, self._hear)

    def __exit__(self, *error: object) -> None:
        for one, before in self._before.items():
            signal.signal(one, before if before is not None else signal.SIG_DFL)

    def _hear(self, number: int, frame: FrameType | None) -> None:
        if self.stop is None:
            raise KeyboardInterrupt if number == signal.SIGINT else Stopped(number)
        self.received = self.received or number
        self.stop(at_once=number != signal.SIGINT)
