"""Signals: Ctrl-C, SIGTERM and SIGHUP end a search with a report of what there is."""

import _thread
import contextlib
import signal
import threading
from collections.abc import Callable, Iterator
from types import FrameType
from typing import Any, Protocol

from tenslora_search.spec.table import QuestionError


class Stop(Protocol):
    def __call__(self, *, at_once: bool = False) -> None: ...


class Stopped(BaseException):
    """A signal came before there was anything to report."""

    def __init__(self, number: int) -> None:
        super().__init__(f"ended by {signal.Signals(number).name}.")
        self.signal = number


class OutOfTime(QuestionError):
    """The time limit was over before a search had model and data."""

    exit_code = 4


class _Late(BaseException):
    """As `Stopped`, of the clock."""


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
        self._is_timed = self._is_late = False
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

    @contextlib.contextmanager
    def within(self, seconds: float) -> Iterator[None]:
        """`OutOfTime` as soon as what is done inside takes longer, wherever it stands; only where
        signals are heard.
        """
        done = threading.Event()

        def wait() -> None:
            if not done.wait(max(0.0, seconds)):
                self._is_late = True
                _thread.interrupt_main(signal.SIGHUP)

        try:
            try:
                if self._before and seconds < threading.TIMEOUT_MAX:
                    self._is_timed = True
                    threading.Thread(target=wait, daemon=True).start()
                yield
            finally:
                self._is_timed = False
        except _Late:
            raise OutOfTime(
                "the time limit was over before data and model were read; give it more time."
            ) from None
        finally:
            done.set()

    def _hear(self, number: int, frame: FrameType | None) -> None:
        if self._is_late and number == signal.SIGHUP:
            self._is_late = False
            if self._is_timed:
                raise _Late
            return
        if self.stop is None:
            raise KeyboardInterrupt if number == signal.SIGINT else Stopped(number)
        self.received = self.received or number
        self.stop(at_once=number != signal.SIGINT)
