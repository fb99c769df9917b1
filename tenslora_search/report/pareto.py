"""The front: complete trials that no other beats in both score and parameters; what to pick from
it; its hypervolume.
"""

import math
from collections.abc import Callable, Sequence

from tenslora_search.report.noise import noise
from tenslora_search.report.reading import Frame, Trial
from tenslora_search.spec.table import Table


def front(trials: Frame) -> Frame:
    """The non-dominated complete trials, best select score first; of equals the one proposed
    first."""
    complete = _with_gain(trials)
    leading = complete[complete["gain"] > 0].drop(columns="gain")
    return leading.sort_values("score", ascending=False).reset_index(drop=True)


def leading(trials: Frame, most: int, margin: float = 0.0) -> list[int]:
    """At most so many to look at again: the picks of the front, then those with the largest gain
    over all no larger ones.

    With a margin they need not be on the front, but may be less than that below it.
    """
    rows, near = front(trials), _with_gain(trials)
    if rows.empty:
        return []
    near = near[near["gain"] > -margin].sort_values("gain", ascending=False, kind="stable")
    return list(
        dict.fromkeys([*(pick(rows) for pick in PICKS.values()), *map(int, near["number"])])
    )[:most]


def _with_gain(trials: Frame) -> Frame:
    """Complete trials, the smallest first, each with its `gain` in score over the best of those
    that are no larger.
    """
    complete = trials[trials["state"] == "complete"].sort_values(
        ["n_params", "score", "number"], ascending=[True, False, True]
    )
    before = complete["score"].cummax().shift(fill_value=-math.inf)
    return complete.assign(gain=complete["score"] - before)


def rows_of(trials: Frame) -> list[Trial]:
    """One object a row; its attributes are the columns."""
    return list(trials.itertuples(index=False, name="Trial"))


def hypervolume(trials: Frame, *, floor: float, budget: int) -> float:
    """Area between the front and `floor` over log10 parameters up to the budget: score units times
    decades.
    """
    complete = trials[trials["state"] == "complete"]
    return _area(list(zip(complete["n_params"], complete["score"], strict=True)), floor, budget)


def hypervolume_curve(trials: Frame, *, floor: float, budget: int) -> list[tuple[float, float]]:
    """(worker-seconds, hypervolume) after each completion; the retests are not in it."""
    complete = trials[trials["state"] == "complete"].sort_values("completed_at")
    points: list[tuple[int, float]] = []
    curve: dict[float, float] = {}
    for seconds, n_params, score in zip(
        complete["completed_at"], complete["n_params"], complete["score"], strict=True
    ):
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
    """The smallest that the best does not beat by more than one standard error of a select score
    (0.01 where unknown).

    A select score is that of one seed, so its standard error is the standard deviation over seeds,
    pooled over the retests.
    """
    known = noise(rows)
    near = rows[rows["score"] >= rows["score"].max() - (known.std if known else UNKNOWN_ERROR)]
    return int(near.loc[near["n_params"].idxmin(), "number"])


UNKNOWN_ERROR = 0.01
PICKS: Table[Callable[[Frame], int]] = Table(
    "pick", {entry.__name__: entry for entry in (best, knee, smallest)}
)
"""How a trial is chosen from the rows of a front; each gives its number."""
