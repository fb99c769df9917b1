"""How a running search looks: a live panel on a terminal, plain lines elsewhere, or nothing."""

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from tenslora_search.search.run import Progress

Show = Callable[["Progress"], None]
SECONDS_BETWEEN_LINES = 2.0


@contextmanager
def silent() -> Iterator[Show]:
    """Nothing."""
    yield lambda progress: None


@contextmanager
def plain() -> Iterator[Show]:
    """One line every few seconds."""
    last = -SECONDS_BETWEEN_LINES

    def show(progress: "Progress") -> None:
        nonlocal last
        if time.monotonic() - last >= SECONDS_BETWEEN_LINES:
            last = time.monotonic()
            print(_line(progress), flush=True)

    yield show


@contextmanager
def live() -> Iterator[Show]:
    """A panel that stays in place: the line, and the front so far."""
    from rich.console import Group
    from rich.live import Live
    from rich.table import Table

    with Live(auto_refresh=False, transient=True) as panel:

        def show(progress: "Progress") -> None:
            table = Table(box=None, header_style="bold", pad_edge=False)
            for name in ("trial", "method", "parameters", "score"):
                table.add_column(name, justify="left" if name == "method" else "right")
            for number, score, n_params, method in progress.front[:12]:
                table.add_row(str(number), method, f"{n_params:,}", f"{score:.4f}")
            panel.update(Group(_line(progress), table), refresh=True)

        yield show


def _line(progress: "Progress") -> str:
    counts, (retested, retests) = progress.counts, progress.n_retests
    states = ", ".join(f"{number} {state}" for state, number in counts.items() if number and state != "waiting")
    best = "-" if progress.best is None else f"{progress.best:.4f}"
    left = "" if progress.seconds_left is None else f", {progress.seconds_left:.0f} s left"
    retest = f" | retest {retested} of {retests}" if progress.phase == "retest" and retests else ""
    proposed = f"{sum(counts.values())} of {progress.n_trials} trials"
    return (
        f"[{progress.seconds:5.0f} s] {proposed}: {states or 'none yet'} | best {best}"
        f" | front {len(progress.front)} | {progress.worker_seconds:.0f} worker-seconds{left}{retest}"
    )
