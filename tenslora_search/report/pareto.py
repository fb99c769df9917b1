"""The front: complete trials that no other beats in both score and parameters; what to pick from
it; its hypervolume.
"""

import math
from collections.abc import Callable, Iterable, Sequence
from typing import Protocol, TypeVar

from tenslora_search.report.noise import noise
from tenslora_search.report.rows import Row
from tenslora_search.spec.metrics import OWN_SCORE
from tenslora_search.spec.table import Table


class Scored(Protocol):
    """What the front needs to know of a trial; a study's own records will do."""

    @property
    def number(self) -> int: ...
    @property
    def state(self) -> str: ...
    @property
    def n_params(self) -> int: ...
    @property
    def score(self) -> float | None: ...


S = TypeVar("S", bound=Scored)


def front(trials: Iterable[S]) -> list[S]:
    """The complete trials that no other beats in size and worth (rows: the estimate where there is
    one), best first; of equals the one proposed first.
    """
    leaders = [one for one, gain in _with_gain(trials) if gain > 0]
    return leaders[::-1]


def leading(
    trials: Sequence[Row], most: int, margin: float = 0.0, typical: float = OWN_SCORE
) -> list[int]:
    """The numbers of at most `most` trials to look at again: the picks of the front, then those
    with the largest gain over all no larger ones.

    With a margin they need not be on the front, but may be less than that below it.
    """
    rows = front(trials)
    if not rows:
        return []
    near = [(one, gain) for one, gain in _with_gain(trials) if gain > -margin]
    near.sort(key=lambda pair: -pair[1])
    picks = picks_of(rows, typical).values()
    return list(dict.fromkeys([*picks, *(one.number for one, _ in near)]))[:most]


def _with_gain(trials: Iterable[S]) -> list[tuple[S, float]]:
    """Complete trials, the smallest first, each with its gain in score over the best of those that
    are no larger.
    """
    complete = [one for one in trials if one.state == "complete" and _is_number(one.score)]
    complete.sort(key=lambda one: (one.n_params, -_score(one), one.number))
    found: list[tuple[S, float]] = []
    top = -math.inf
    for one in complete:
        found.append((one, _score(one) - top))
        top = max(top, _score(one))
    return found


def _is_number(score: float | None) -> bool:
    return score is not None and math.isfinite(score)


def _score(one: Scored) -> float:
    """A row's worth; a study's own records know their score alone."""
    worth: float | None = getattr(one, "worth", one.score)
    return -math.inf if worth is None else worth


def hypervolume(trials: Iterable[Row], *, floor: float, budget: int) -> float:
    """Area between the front and `floor` over log10 parameters up to the budget: score units times
    decades.
    """
    points = [(one.n_params, one.worth) for one in front(trials)]
    return _area(points, floor, budget)


def hypervolume_curve(
    scored: Iterable[tuple[float, int, int, float]], *, floor: float, budget: int
) -> list[tuple[float, float]]:
    """(worker-seconds, hypervolume) after each moment at which trials were scored.

    `scored`: (worker-seconds, trial, its parameters, score), by time. A trial counts with its last
    score, those that are still on their way too.
    """
    points: dict[int, tuple[int, float]] = {}
    curve: dict[float, float] = {}
    for seconds, number, n_params, score in scored:
        points[number] = (n_params, score)
        curve[seconds] = _area(list(points.values()), floor, budget)
    return list(curve.items())


def _area(points: Sequence[tuple[int, float]], floor: float, budget: int) -> float:
    area, right, done = 0.0, math.log10(budget), math.inf
    for n_params, score in sorted(points, key=lambda point: (-point[1], point[0])):
        if n_params < done:
            done, left = n_params, math.log10(n_params)
            area += max(0.0, right - left) * max(0.0, score - floor)
            right = min(right, left)
    return area


def best(rows: Sequence[Row], typical: float = OWN_SCORE) -> int:
    """The highest estimate, or select score where there is none."""
    return max(rows, key=lambda one: one.worth).number


def knee(rows: Sequence[Row], typical: float = OWN_SCORE) -> int:
    """Where the front bends: farthest above the line between its ends, over log parameters."""
    logs = [math.log(one.n_params) for one in rows]
    scores = [one.worth for one in rows]
    width, height = max(logs) - min(logs), max(scores) - min(scores)
    if not width or not height:
        return best(rows)

    def above(one: Row) -> float:
        return (one.worth - min(scores)) / height - (math.log(one.n_params) - min(logs)) / width

    return max(rows, key=above).number


def smallest(rows: Sequence[Row], typical: float = OWN_SCORE) -> int:
    """The smallest that the best does not beat by more than one standard error of a select score
    (`typical` where no retest has measured it).

    A select score is that of one seed, so its standard error is the standard deviation over seeds,
    pooled over the retests; an estimate knows its own.
    """
    known, top = noise(rows), max(rows, key=lambda one: one.worth)
    error = known.std if known else typical
    least = top.worth - (error if math.isnan(top.estimate_error) else top.estimate_error)
    near = [one for one in rows if one.worth >= least]
    return min(near, key=lambda one: one.n_params).number


Pick = Callable[[Sequence[Row], float], int]
PICKS: Table[Pick] = Table("pick", {entry.__name__: entry for entry in (best, knee, smallest)})
"""How a trial is chosen from the rows of a front, with the noise that a select score of its metric
has where none was measured; each gives its number.
"""


def picks_of(rows: Sequence[Row], typical: float) -> dict[str, int]:
    """The number that each pick chooses from a front; none where it is empty."""
    return {name: pick(rows, typical) for name, pick in PICKS.items()} if rows else {}
