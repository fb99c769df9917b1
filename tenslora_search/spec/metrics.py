"""NOISE: by how much a score wavers for no reason but which rows it was taken on; one entry a
metric, the standard library alone.
"""

import math
from collections.abc import Callable

from tenslora_search.spec.table import QuestionError, Table

OWN_SCORE = 0.01
"""For a score that only the user's own loop knows (`ask_tell`), on a scale like accuracy's."""


def of_share(n_rows: int) -> float:
    """The standard error of a share of n_rows at its widest, where the share is one half."""
    return 0.5 / math.sqrt(max(1, n_rows))


def of_correlation(n_rows: int) -> float:
    """The standard error of a correlation over n_rows at its widest, where there is none."""
    return 1 / math.sqrt(max(1, n_rows))


NOISE: Table[Callable[[int], float]] = Table(
    "metric",
    {
        "accuracy": of_share,
        "f1_macro": of_share,
        "f1_micro": of_share,
        "balanced_accuracy": of_share,
        "roc_auc": of_share,
        "matthews": of_correlation,
        "pearson": of_correlation,
        "spearman": of_correlation,
        "pearson_spearman": of_correlation,
    },
    renamed=True,
    undocumented=True,
)


OWN_METRICS: dict[str, tuple[str, ...]] = {}
"""Goals that each metric from outside scores, besides those of the table; see `METRICS.add`."""


def metrics_of(goal: str) -> tuple[str, ...]:
    """The metrics that score a goal, the one that is taken unless another is asked for first."""
    return (*GOAL_METRICS[goal], *(name for name, goals in OWN_METRICS.items() if goal in goals))


def noise_of(metric: str, n_rows: int) -> float:
    """The noise of a metric's score over n_rows; of a metric of the user's own, `OWN_SCORE`."""
    return NOISE[metric](n_rows) if metric in NOISE else OWN_SCORE


GOAL_METRICS: Table[tuple[str, ...]] = Table(
    "goal",
    {
        "classes": (
            "accuracy",
            "f1_macro",
            "f1_micro",
            "balanced_accuracy",
            "roc_auc",
            "matthews",
        ),
        "numbers": ("pearson_spearman", "pearson", "spearman"),
        "labels": ("f1_micro", "f1_macro", "roc_auc"),
    },
)
"""The metrics that score each of `data.goals.GOALS`; the first unless another is asked for."""


def metric_for(goal: str, asked: str | None) -> str:
    """The metric that was asked for, else the goal's first; `QuestionError` for one that does not
    take its answers.
    """
    known = metrics_of(goal)
    if asked is not None and asked not in known:
        _ = NOISE[asked]
        raise QuestionError(
            f"metric {asked!r} does not score {goal}; these do: {', '.join(known)}."
        )
    return asked or known[0]
