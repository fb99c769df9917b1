"""Figures for papers: the front as score against parameters."""

from pathlib import Path

from tenslora_search.report.pareto import front, shown_score
from tenslora_search.report.reading import RunRecord

OURS, LORA, GREY = "#0072b2", "#d55e00", "0.65"
"""Of the Okabe-Ito palette, which colour-blind readers can tell apart."""


def front_figure(record: RunRecord, path: Path) -> None:
    """Writes score against parameters: the front with its retests' spread, LoRA marked, the rest in grey, the budget a line."""
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    figure = Figure(figsize=(6.4, 4.2), layout="constrained")
    FigureCanvasAgg(figure)
    axes = figure.add_subplot()
    trials = record.trials
    for state, marker in (("paused", "x"), ("complete", "o")):
        rows = trials[trials["state"] == state]
        axes.plot(rows["n_params"], rows["score"], marker, color=GREY, ms=4, label=state, zorder=1)
    lora = trials[(trials["method"] == "LoRA") & (trials["state"] == "complete")]
    axes.plot(lora["n_params"], lora["score"], "^", color=LORA, ms=7, label="LoRA", zorder=3)
    rows = front(trials).sort_values("n_params")
    if len(rows):
        axes.step(rows["n_params"], rows["score"], where="post", color=OURS, lw=1, zorder=2)
        axes.plot(rows["n_params"], rows["score"], "o", color=OURS, ms=6, label="front (select)", zorder=4)
        again = rows[rows["report_score"].notna()]
        axes.errorbar(
            again["n_params"], shown_score(again), yerr=again["report_std"].fillna(0.0), fmt="D", color=OURS, mfc="none", ms=5,
            capsize=2, lw=1, label="front (report, fresh seeds)", zorder=4,
        )  # fmt: skip
    axes.axvline(record.file["budget"], color="0.4", ls=":", lw=1)
    axes.set(xscale="log", xlabel="trainable parameters of the adapter", ylabel=record.file["metric"])
    axes.set_title(f"{record.file['task']} on {record.file['model']}", fontsize=10, parse_math=False)
    axes.grid(alpha=0.25)
    axes.legend(fontsize=8, frameon=False)
    figure.savefig(path, dpi=150)
