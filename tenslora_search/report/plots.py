"""Figures for papers: the front as score against parameters, as front.png and front.svg."""

import textwrap
from pathlib import Path
from typing import Any

from tenslora_search.report.pareto import front
from tenslora_search.report.payload import BASELINES
from tenslora_search.report.reading import Frame, RunRecord
from tenslora_search.report.svg import short

OURS, GREY = "#0072b2", "0.65"
MARKS = (
    ("#d55e00", "^"),
    ("#009e73", "s"),
    ("#cc79a7", "P"),
    ("#e69f00", "v"),
    ("#56b4e9", "*"),
    ("0.2", "p"),
)
"""Of the named baselines in turn. Colours of the Okabe-Ito palette, which colour-blind readers can
tell apart.
"""


def front_figures(record: RunRecord, folder: Path) -> None:
    """Writes score against parameters: the front, the spread of its retests, baselines marked, the
    rest grey, the budget.
    """
    import matplotlib as mpl
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    style = {
        "svg.fonttype": "none",
        "svg.hashsalt": "tenslora-search",
        "font.size": 9,
        "axes.spines.top": False,
        "axes.spines.right": False,
    }
    with mpl.rc_context(style):  # type: ignore[arg-type]
        figure = Figure(figsize=(5.5, 3.6), layout="constrained")
        FigureCanvasAgg(figure)
        _drawn(figure.add_subplot(), record)
        figure.savefig(folder / "front.png", dpi=200)
        figure.set_layout_engine("none")  # the layout is found
        figure.savefig(folder / "front.svg", metadata={"Date": None})


def _drawn(axes: Any, record: RunRecord) -> None:
    trials, rows = record.trials, front(record.trials).sort_values("n_params")
    complete = trials[trials["state"] == "complete"]
    is_narrow = trials["n_params"].max() < 30 * trials["n_params"].min()
    others = trials[(trials["state"] != "complete") & trials["score"].notna()]
    ours = complete[~complete["method"].isin(BASELINES)]

    def marks(known: Frame, marker: str, label: str, **look: object) -> None:
        if len(known):
            axes.plot(known["n_params"], known["score"], marker, label=label, **look)

    marks(others, "o", "paused", color=GREY, mfc="none", ms=3, mew=0.6, alpha=0.7, zorder=1)
    marks(ours, "o", "dominated", color=GREY, ms=3.5, zorder=2)
    for name, (color, marker) in zip(BASELINES, MARKS, strict=True):
        marks(
            complete[complete["method"] == name],
            marker,
            name,
            color=color,
            ms=6,
            mec="white",
            mew=0.4,
            zorder=4,
        )
    if len(rows):
        axes.step(rows["n_params"], rows["score"], where="post", color=OURS, lw=1, zorder=2)
        marks(rows, "o", "front", color=OURS, ms=5.5, zorder=3)
        again = trials[
            (trials["n_retests"] > 0)
            & (trials["number"].isin(rows["number"]) | (trials["method"] == "LoRA"))
        ]
        spread = again["report_std"].fillna(0.0)
        if len(again):
            axes.errorbar(
                again["n_params"], again["report_score"], yerr=spread, fmt="D", color="0.15",
                mfc="white", ms=4.5, mew=0.9, capsize=2, lw=0.9, label="report, fresh seeds",
                zorder=5,
            )  # fmt: skip
        low = min([complete["score"].quantile(0.05), *(again["report_score"] - spread)])
        high = max([rows["score"].max(), *(again["report_score"] + spread)])
        margin = (high - low) * 0.06 or 0.02
        axes.set_ylim(
            low - margin, high + margin
        )  # early scores of paused trials would press the front flat
    axes.axvline(record.file["budget"], color="0.3", ls=":", lw=1, label="budget")
    axes.set(xscale="log", xlabel="trainable parameters of the adapter")
    axes.xaxis.set_major_formatter(lambda value, _: short(value))
    axes.xaxis.set_minor_formatter(
        lambda value, _: short(value) if str(value)[0] in "25" and is_narrow else ""
    )
    axes.set_ylabel(record.file["metric"], parse_math=False)
    axes.set_title(
        textwrap.shorten(record.title, 80, placeholder=" ..."), fontsize=9, parse_math=False
    )
    axes.grid(alpha=0.2, lw=0.6)
    axes.legend(fontsize=7, frameon=False, loc="upper left", bbox_to_anchor=(1.0, 1.0))
