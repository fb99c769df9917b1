"""How a search looks in a terminal: a live panel (elsewhere plain lines, or nothing), and the front
at its end.
"""

import math
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import TYPE_CHECKING

from tenslora_search.streams import printing

if TYPE_CHECKING:
    from rich.table import Table

    from tenslora_search.engine.progress import Progress
    from tenslora_search.report.rows import Row

Show = Callable[["Progress"], None]
SECONDS_BETWEEN_LINES = 2.0
MOST_ROWS = 12
"""Of the front while the search runs."""
BARS = "▁▂▃▄▅▆▇█"
COLUMNS = (
    "select: on rows that guided the search; report: on rows it never saw, mean ± spread "
    "over fresh seeds; rungs: on the way up"
)


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
            with printing():
                print(_line(progress), flush=True)

    yield show


@contextmanager
def live() -> Iterator[Show]:
    """A panel that stays in place: the line, the best score so far as a spark, and the front so
    far.
    """
    from rich.console import Group
    from rich.live import Live

    best: list[float] = []
    with Live(auto_refresh=False, transient=True) as panel:

        def show(progress: "Progress") -> None:
            if progress.best is not None:
                best.append(progress.best)
            rows = [
                (str(number), method, f"{n_params:,}", f"{score:.4f}", curve)
                for (number, score, n_params, method), curve in zip(
                    progress.front, _sparks(progress.curves), strict=True
                )
            ]
            table = (
                [_table(("trial", "method", "parameters", "select", "rungs"), rows[:MOST_ROWS])]
                if rows
                else []
            )
            history = [f"best so far  {_sparks([best[-60:]])[0]}"] if best else []
            with printing():
                panel.update(Group(_line(progress), *history, *table), refresh=True)

        yield show


def print_front(
    front: "Sequence[Row]",
    curves: Mapping[int, Sequence[tuple[int, float]]],
    metric: str,
    *,
    is_interrupted: bool = False,
) -> None:
    """The front at the end: with its scores on fresh seeds, and each trial's scores by rung as a
    spark.
    """
    from rich.console import Console

    if not front:
        more = "give more time (--time-limit) or fewer steps (--max-steps)"
        again = "interrupted; the same command goes on"
        print(f"no trial is complete: {again if is_interrupted else more}")
        return
    drawn = _sparks([[score for _, score in curves.get(one.number, ())] for one in front])
    rows = [_front_row(one, curve) for one, curve in zip(front, drawn, strict=True)]
    names = ("trial", "method", "ranks", "parameters", "select", "report", "rungs")
    console = Console()
    console.print(_table(names, rows, title=f"front ({metric})"))
    console.print(COLUMNS, style="dim", highlight=False)


def _front_row(one: "Row", curve: str) -> tuple[str, ...]:
    spread = f" ± {one.report_std:.4f}" if one.n_retests > 1 else ""
    again = f"{one.report_score:.4f}{spread}" if one.n_retests else "-"
    size, score = f"{one.n_params:,}", f"{one.score:.4f}"
    return str(one.number), one.method, one.ranks, size, score, again, curve


def _table(
    names: Sequence[str], rows: Sequence[Sequence[str]], title: str | None = None
) -> "Table":
    from rich.table import Table
    from rich.text import Text

    table = Table(
        title=Text(title) if title else None,
        title_justify="left",
        box=None,
        header_style="bold",
        pad_edge=False,
    )
    for name in names:
        table.add_column(name, justify="left" if name in ("method", "ranks", "rungs") else "right")
    for row in rows:
        table.add_row(*map(Text, row))
    return table


def _sparks(curves: Sequence[Sequence[float]]) -> list[str]:
    """Each curve as a line of bars, all on one scale from the lowest to the highest value."""
    values = [value for curve in curves for value in curve if math.isfinite(value)]
    low, high = min(values, default=0.0), max(values, default=0.0)

    def bar(value: float) -> str:
        if not math.isfinite(value):
            return " "
        return (
            BARS[round((len(BARS) - 1) * (value - low) / (high - low))] if high > low else BARS[-1]
        )

    return ["".join(map(bar, curve)) for curve in curves]


def _line(progress: "Progress") -> str:
    counts, (retested, retests) = progress.counts, progress.n_retests
    states = ", ".join(
        f"{number} {state}" for state, number in counts.items() if number and state != "waiting"
    )
    if not states and counts.get("waiting"):
        states = f"{counts['waiting']} wait to be judged"
    best = (
        ""
        if progress.best is None
        else f" | best {progress.best:.4f} | front of {len(progress.front)}"
    )
    left = "" if progress.seconds_left is None else f", {progress.seconds_left:.0f} s left"
    retest = f" | retest {retested} of {retests}" if progress.phase == "retest" and retests else ""
    proposed = f"{sum(counts.values())} of {progress.n_trials} trials"
    return (
        f"[{progress.seconds:5.0f} s] {proposed}: {states or 'none yet'}{best}"
        f" | {progress.worker_seconds:.0f} seconds of work{left}{retest}{_beat(progress)}"
    )


def _beat(progress: "Progress") -> str:
    """Where the segment stands that was heard of last."""
    if progress.steps is None:
        return ""
    done, of = progress.steps
    left = progress.seconds_to_scores
    scores = "" if left is None else f", scored in {left:.0f} s or so"
    end = progress.seconds_left
    if progress.best is None and left is not None and end is not None and left > end:
        scores += ", after the time limit: take fewer --max-steps"
    return f" | step {done:,} of {of:,}{scores}"
