"""NOISE: by how much a score wavers for no reason but which rows it was taken on, one entry a
metric; GOAL_METRICS: which metrics score a goal. Both say what stands in the files of the goals
and metrics themselves (`spec/declared.py`).
"""

import math
from collections.abc import Callable

from tenslora_search.spec.declared import declared_goals, declared_metrics
from tenslora_search.spec.table import QuestionError, Table

OWN_SCORE = 0.01
"""For a score that only the user's own loop knows (`ask_tell`), on a scale like accuracy's."""


def of_share(n_rows: int) -> float:
    """The standard error of a share of n_rows at its widest, where the share is one half."""
    return 0.5 / math.sqrt(max(1, n_rows))


def of_correlation(n_rows: int) -> float:
    """The standard error of a correlation over n_rows at its widest, where there is none."""
    return 1 / math.sqrt(max(1, n_rows))


def of_loss(n_rows: int) -> float:
    """The standard error of a difference in mean loss a token over n_rows texts: trials are scored
    on the same ones, so what wavers is not the loss but how much they differ, some tenth of a nat.
    """
    return 0.1 / math.sqrt(max(1, n_rows))


SCALES: dict[str, Callable[[int], float]] = {
    "share": of_share,
    "correlation": of_correlation,
    "loss": of_loss,
}
"""The kinds of noise by the word that a metric says."""

_SAID = declared_metrics()

SHOWN: dict[str, tuple[str, Callable[[float], float]]] = {
    name: ("perplexity", lambda score: math.exp(min(-score, 700.0)))
    for name, said in _SAID.items()
    if said.get("shows") == "perplexity"
}
"""Metrics that people know by another number, made of the score: its name, and how it is made."""

NOISE: Table[Callable[[int], float]] = Table(
    "metric",
    {name: SCALES[said["noise"]] for name, said in _SAID.items()},
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


def is_loss(metric: str) -> bool:
    """Whether it is a mean loss, with its sign changed."""
    return _SAID.get(metric, {}).get("noise") == "loss"


GOAL_METRICS: Table[tuple[str, ...]] = Table("goal", declared_goals())
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
