"""Cluster: the processes of Ray's own that a search depends on; whether they are alive, and their
end.
"""

import contextlib
import os
import signal
import socket
import threading
from collections.abc import Callable, Generator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from subprocess import Popen

NEEDED = ("gcs_server", "raylet")
"""Programs without which a cluster is none; Ray's agents take `raylet` with them when they end."""
SECONDS_BETWEEN_LOOKS = 0.5
KNOCKS = 6
"""Looks in a row at which nobody answered at a head elsewhere, until it counts as gone."""
KEPT = "What was done so far is kept: the same command goes on."
PATIENCE = 10.0
"""Seconds that the search has to end by itself once the cluster is gone. Ray's own calls wait a
minute for it, and end the process then.
"""


@dataclass
class Cluster:
    """A cluster that was started here (`processes`), or one that was joined (`head`)."""

    processes: Sequence[Popen[bytes]] = ()
    """each leads a session"""
    head: tuple[str, int] | None = None
    _unanswered: int = field(default=0, init=False)

    def gone(self) -> str:
        """What of it has ended; "" while all is there."""
        for process in self.processes:
            name = Path(_program(process)).name
            if name in NEEDED and (code := process.poll()) is not None:
                how = f"by {signal.Signals(-code).name}" if code < 0 else f"with exit code {code}"
                return f"Ray's {name} has ended {how}"
        return ""

    def look(self) -> str:
        """As `gone`; knocks at a head elsewhere too."""
        if self.head is not None:
            try:
                socket.create_connection(self.head, timeout=2).close()
                self._unanswered = 0
            except OSError:
                self._unanswered += 1
                if self._unanswered >= KNOCKS:
                    return f"the Ray cluster at {self.head[0]}:{self.head[1]} no longer answers"
        return self.gone()

    def end(self) -> None:
        """Kills what is left of the sessions that were started here: workers in the midst of a
        step outlive the rest of Ray.
        """
        sessions = {process.pid for process in self.processes}
        for entry in Path("/proc").glob("[0-9]*"):
            with contextlib.suppress(OSError):
                if os.getsid(int(entry.name)) in sessions:
                    os.kill(int(entry.name), signal.SIGKILL)
        for process in self.processes:
            with contextlib.suppress(OSError):
                process.kill()
                process.wait(1)


def _program(process: Popen[bytes]) -> str:
    arguments: object = process.args
    return str(arguments[0] if isinstance(arguments, list | tuple) else arguments)


@contextlib.contextmanager
def watched(cluster: Cluster, give_up: Callable[[str], object]) -> Generator[None]:
    """Calls `give_up` with what has ended, if this is not left soon after: the thread that is in it
    may stand in a call of Ray's that does not return.
    """
    is_left = threading.Event()

    def watch() -> None:
        while not is_left.wait(SECONDS_BETWEEN_LOOKS):
            if what := cluster.look():
                if not is_left.wait(PATIENCE):
                    cluster.end()
                    give_up(what)
                return

    thread = threading.Thread(target=watch, name="ray-watch", daemon=True)
    thread.start()
    try:
        yield
    finally:
        is_left.set()
