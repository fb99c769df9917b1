"""Figures for papers: the front as score against parameters, as front.png, front.svg and
front.pdf.
"""

import math
import os
from collections.abc import Sequence
from pathlib import Path
from typing import Any
from unittest.mock import patch

from tenslora_search.report.looks import COLOURS, baselines, marker
from tenslora_search.report.pareto import front
from tenslora_search.report.reading import RunRecord
from tenslora_search.report.rows import Row
from tenslora_search.report.svg import short

OURS, GREY = "#0072b2", "0.65"
MOST_ENTRIES = 19
"""Of one column of the legend; more make the figure wider."""
COLUMN_INCHES = 1.4
MOST_TITLE = 80
MOST_LABEL = 60
LOWEST_SHARE = 0.05
"""Of the complete trials; they may lie below the figure, so that the front is not pressed flat."""


def front_figures(record: RunRecord, folder: Path) -> None:
    """Writes score against parameters: the front, the spread of its retests, baselines marked, the
    rest grey, the budget.
    """
    with patch.dict(os.environ, MPLBACKEND="agg"):  # whatever the environment says of screens
        import matplotlib as mpl
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    style = {
        "svg.fonttype": "none",
        "pdf.fonttype": 42,
        "svg.hashsalt": "tenslora-search",
        "font.size": 9,
        "axes.spines.top": False,
        "axes.spines.right": False,
    }
    with mpl.rc_context(style):  # type: ignore[arg-type]
        figure = Figure(figsize=(5.5, 3.6), layout="constrained")
        FigureCanvasAgg(figure)
        axes = figure.add_subplot()
        _draw_trials(axes, record)
        _draw_front(axes, record)
        _draw_axes(axes, record)
        n_columns = math.ceil(len(axes.get_legend_handles_labels()[1]) / MOST_ENTRIES)
        figure.set_size_inches(5.5 + COLUMN_INCHES * (n_columns - 1), 3.6)
        axes.legend(
            fontsize=7,
            frameon=False,
            loc="upper left",
            bbox_to_anchor=(1.0, 1.0),
            ncols=n_columns,
        )
        figure.savefig(folder / "front.png", dpi=200)
        figure.set_layout_engine(None)  # it is found; another would be drawn for
        figure.savefig(folder / "front.svg", metadata={"Date": None})
        figure.savefig(folder / "front.pdf", metadata={"CreationDate": None})


def _marks(axes: Any, rows: Sequence[Row], label: str, **look: object) -> None:
    if rows:
        sizes, scores = [one.n_params for one in rows], [one.worth for one in rows]
        axes.plot(sizes, scores, linestyle="none", label=label, **look)


def _draw_trials(axes: Any, record: RunRecord) -> None:
    """Everything but the front: paused trials, dominated ones, the named methods."""
    complete, looks = record.complete, baselines()
    leaders = {one.number for one in front(record.rows)}
    paused = [one for one in record.rows if not one.is_complete and math.isfinite(one.score)]
    faint = {"color": GREY, "mfc": "none", "ms": 3, "mew": 0.6, "alpha": 0.7}
    _marks(axes, paused, "paused", marker="o", zorder=1, **faint)
    ours = [one for one in complete if one.method not in looks]
    _marks(axes, ours, "dominated", marker="o", color=GREY, ms=3.5, zorder=2)
    for name, look in looks.items():
        own = [one for one in complete if one.method == name]
        about = {"marker": marker(look.shape), "color": COLOURS[look.colour], "ms": 6}
        beaten = [one for one in own if one.number not in leaders]
        leading = [one for one in own if one.number in leaders]
        _marks(axes, beaten, name, mec="white", mew=0.4, zorder=4, **about)
        label = "" if beaten else name
        _marks(axes, leading, label, mec="black", mew=0.8, zorder=4, **about)


def _draw_front(axes: Any, record: RunRecord) -> None:
    """The front as a line with marks, and what was scored on report with its spread."""
    rows = sorted(front(record.rows), key=lambda one: one.n_params)
    if not rows:
        return
    sizes, scores = [one.n_params for one in rows], [one.worth for one in rows]
    _draw_band(axes, rows, record.file.budget)
    ours = [one for one in rows if one.method not in baselines()]
    axes.step(sizes, scores, where="post", color=OURS, lw=1, zorder=2, label="front")
    _marks(axes, ours, "front, other methods", marker="o", color=OURS, ms=5.5, zorder=3)
    leaders = {one.number for one in rows}
    again = [
        one
        for one in record.rows
        if one.n_retests and (one.number in leaders or one.method == "LoRA")
    ]
    spread = [0.0 if math.isnan(one.report_std) else one.report_std for one in again]
    if again:
        axes.errorbar(
            [one.n_params for one in again], [one.report_score for one in again], yerr=spread,
            fmt="D", color="0.15", mfc="white", ms=4.5, mew=0.9, capsize=2, lw=0.9,
            label="report, fresh seeds", zorder=5,
        )  # fmt: skip
    pairs = list(zip(again, spread, strict=True))
    lowest = _quantile([one.score for one in record.complete], LOWEST_SHARE)
    low = min([lowest, *(one.report_score - wide for one, wide in pairs)])
    high = max([*scores, *(one.report_score + wide for one, wide in pairs)])
    margin = (high - low) * 0.06 or 0.02
    axes.set_ylim(low - margin, high + margin)


def _draw_band(axes: Any, rows: Sequence[Row], budget: int) -> None:
    """What the front is between in 95 % of all cases, where its members have estimates."""
    errors = [2 * one.estimate_error for one in rows]
    if any(map(math.isnan, errors)):
        return
    low = [one.worth - wide for one, wide in zip(rows, errors, strict=True)]
    high = [one.worth + wide for one, wide in zip(rows, errors, strict=True)]
    ends = [*(one.n_params for one in rows), max(budget, rows[-1].n_params)]
    about = {"color": OURS, "alpha": 0.15, "lw": 0, "label": "front, estimated, 95 %"}
    axes.fill_between(ends, [*low, low[-1]], [*high, high[-1]], step="post", zorder=1, **about)


def _draw_axes(axes: Any, record: RunRecord) -> None:
    sizes = [one.n_params for one in record.rows]
    is_narrow = bool(sizes) and max(sizes) < 30 * min(sizes)
    axes.axvline(record.file.budget, color="0.3", ls=":", lw=1, label="budget")
    if not math.isnan(zero := record.zero[0]):
        axes.axhline(
            zero, color="0.3", ls="--", lw=1, label=f"0 parameters ({short(zero)})", zorder=1
        )
    axes.set(xscale="log", xlabel="trainable parameters of the adapter")
    axes.xaxis.set_major_formatter(lambda value, _: short(value))
    axes.xaxis.set_minor_formatter(
        lambda value, _: short(value) if str(value)[0] in "25" and is_narrow else ""
    )
    is_estimated = any(not math.isnan(one.estimate) for one in record.rows)
    metric = record.file.metric + (", estimated where complete" if is_estimated else "")
    axes.set_ylabel(_one_line(metric, MOST_LABEL), parse_math=False)
    axes.set_title(_one_line(record.title, MOST_TITLE), fontsize=9, parse_math=False)
    axes.grid(alpha=0.2, lw=0.6)


def _one_line(text: str, most: int) -> str:
    """The text without line ends, cut where it is longer."""
    words = " ".join(text.split())
    return words if len(words) <= most else f"{words[:most].rstrip()} ..."


def _quantile(values: Sequence[float], share: float) -> float:
    """Between the two values that stand there when sorted."""
    known = sorted(values)
    place = (len(known) - 1) * share
    low = math.floor(place)
    high = min(low + 1, len(known) - 1)
    return known[low] + (known[high] - known[low]) * (place - low)
