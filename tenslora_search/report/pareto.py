"""The front: complete trials that no other beats in both score and parameters; what to pick from it; its hypervolume."""

import math
from collections.abc import Callable, Sequence

from tenslora_search.report.noise import noise
from tenslora_search.report.reading import Frame, Trial
from tenslora_search.spec.table import Table


def front(trials: Frame) -> Frame:
    """The non-dominated complete trials, best select score first; of equals the one proposed first."""
    complete = trials[trials["state"] == "complete"].sort_values(["n_params", "score", "number"], ascending=[True, False, True])
    before = complete["score"].cummax().shift(fill_value=-math.inf)
    return complete[complete["score"] > before].sort_values("score", ascending=False).reset_index(drop=True)


def rows_of(trials: Frame) -> list[Trial]:
    """One object a row; its attributes are the columns."""
    return list(trials.itertuples(index=False, name="Trial"))


def hypervolume(trials: Frame, *, floor: float, budget: int) -> float:
    """Area between the front and `floor` over log10 parameters up to the budget: score units times decades."""
    complete = trials[trials["state"] == "complete"]
    return _area(list(zip(complete["n_params"], complete["score"], strict=True)), floor, budget)


def hypervolume_curve(trials: Frame, *, floor: float, budget: int) -> list[tuple[float, float]]:
    """(worker-seconds, hypervolume) after each completion; the retests are not in it."""
    complete = trials[trials["state"] == "complete"].sort_values("completed_at")
    points: list[tuple[int, float]] = []
    curve: dict[float, float] = {}
    for seconds, n_params, score in zip(complete["completed_at"], complete["n_params"], complete["score"], strict=True):
        points.append((n_params, score))
        curve[float(seconds)] = _area(points, floor, budget)
    return list(curve.items())


def _area(points: Sequence[tuple[int, float]], floor: float, budget: int) -> float:
    area, right, done = 0.0, math.log10(budget), math.inf
    for n_params, score in sorted(points, key=lambda point: (-point[1], point[0])):
        if n_params < done:
            done, left = n_params, math.log10(n_params)
            area += max(0.0, right - left) * max(0.0, score - floor)
            right = min(right, left)
    return area


def best(rows: Frame) -> int:
    """The highest select score."""
    return int(rows.loc[rows["score"].idxmax(), "number"])


def knee(rows: Frame) -> int:
    """Where the front bends: farthest above the line between its ends, over log parameters."""
    logs, scores = rows["n_params"].map(math.log), rows["score"]
    width, height = logs.max() - logs.min(), scores.max() - scores.min()
    if not width or not height:
        return best(rows)
    above = (scores - scores.min()) / height - (logs - logs.min()) / width
    return int(rows.loc[above.idxmax(), "number"])


def smallest(rows: Frame) -> int:
    """The smallest that the best does not beat by more than one standard error of a select score (0.01 where unknown).

    A select score is that of one seed, so its standard error is the standard deviation over seeds, pooled over the retests.
    """
    known = noise(rows)
    near = rows[rows["score"] >= rows["score"].max() - (known.std if known else UNKNOWN_ERROR)]
    return int(near.loc[near["n_params"].idxmin(), "number"])


UNKNOWN_ERROR = 0.01
PICKS: Table[Callable[[Frame], int]] = Table("pick", {entry.__name__: entry for entry in (best, knee, smallest)})
"""How a trial is chosen from the rows of a front; each gives its number."""
