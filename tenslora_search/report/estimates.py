"""Estimates: what trials would score at the end, with an error, by a model over all their scores.

A score of one seed is partly luck, and the best of many scores is mostly so. A Gaussian process
over (point, size, step) shares what neighbours and rungs tell of each other; what they do not
explain it takes for noise (process.py).
"""

import math
import statistics
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple, Protocol

import numpy as np
from numpy.typing import NDArray

from tenslora_search.report.process import Process, draws, likeliest

FEWEST = 24
"""Trials with a score below which there is no model."""
MOST_FITTED, MOST_KNOWN = 120, 1_200
"""Scores that its scales are learnt from, and that it knows then: the highest rungs first."""
LOW_MEDIAN = 0.25
"""Positive numbers, half of them in this lowest part of their range, are on a logarithmic scale."""
FURTHEST = 4.0
"""Scores further below the median than so many times the upper half's spread are alike failures."""
DRAWS = 400
"""Of fronts, for how likely each trial is on it."""

Floats = NDArray[np.float64]


class Scored(Protocol):
    """What the model needs of a trial; `Seen` will do."""

    @property
    def point(self) -> Mapping[str, Any]: ...
    @property
    def n_params(self) -> int: ...
    @property
    def scores(self) -> Mapping[int, float]: ...


class Encoder:
    """Points as rows of numbers between 0 and 1; different names are as far apart as the ends of a
    range.
    """

    def __init__(self, points: Sequence[Mapping[str, Any]], sizes: Sequence[int]) -> None:
        self._names = sorted({name for point in points for name in point})
        self._columns = {name: _column_of([p.get(name) for p in points]) for name in self._names}
        self._sizes = _Numbers.of([float(size) for size in sizes])

    def rows(self, points: Sequence[Mapping[str, Any]], sizes: Sequence[int]) -> Floats:
        """(n, n_features), the size first; a point's own word on its size is left out."""
        return np.concatenate(self._parts(points, sizes), axis=1)

    @property
    def groups(self) -> list[int]:
        """The choice that each feature belongs to, and the step, which comes behind them."""
        widths = [part.shape[1] for part in self._parts([{}], [1])]
        kept = [width for width in [*widths, 1] if width]
        return [k for k, width in enumerate(kept) for _ in range(width)]

    def _parts(self, points: Sequence[Mapping[str, Any]], sizes: Sequence[int]) -> list[Floats]:
        parts = [self._sizes.encoded([float(size) for size in sizes])]
        for name in self._names:
            if name != "size":
                parts += self._columns[name].parts([point.get(name) for point in points])
        return parts


@dataclass(frozen=True)
class _Numbers:
    low: float
    high: float
    log: bool

    @classmethod
    def of(cls, values: Sequence[float]) -> "_Numbers":
        low, high = min(values), max(values)
        median = statistics.median(values)
        log = low > 0 and median - low < LOW_MEDIAN * (high - low)
        return cls(math.log(low), math.log(high), True) if log else cls(low, high, False)

    def parts(self, values: Sequence[Any]) -> list[Floats]:
        return [self.encoded(values)]

    def encoded(self, values: Sequence[Any]) -> Floats:
        """(n, 1); what a point does not say is in the middle."""
        if self.high <= self.low:
            return np.zeros((len(values), 0))
        middle = (self.low + self.high) / 2
        told = [middle if one is None else self._placed(one) for one in values]
        return ((np.array(told, dtype=float) - self.low) / (self.high - self.low))[:, None]

    def _placed(self, value: float) -> float:
        if not self.log:
            return value
        return math.log(value) if value > 0 else self.low


@dataclass(frozen=True)
class _Names:
    places: tuple[tuple[str, ...], ...]
    """the names at each place: a structure has two, CONSTRUCTION x DECOMPOSITION"""

    @classmethod
    def of(cls, values: Sequence[Any]) -> "_Names":
        split = [_split(one) for one in values]
        places = max(map(len, split))
        return cls(
            tuple(tuple(sorted({one[k] for one in split if len(one) > k})) for k in range(places))
        )

    def parts(self, values: Sequence[Any]) -> list[Floats]:
        """(n, n_names) for each place."""
        told = [_split(one) for one in values]
        return [
            np.array([[len(one) > k and one[k] == name for name in names] for one in told])
            / math.sqrt(2)
            for k, names in enumerate(self.places)
            if len(names) > 1
        ]


def _split(value: Any) -> list[str]:
    return str(value).split(" x ")


def _column_of(values: Sequence[Any]) -> _Numbers | _Names:
    known = [one for one in values if one is not None]
    is_number = all(isinstance(one, int | float) and not isinstance(one, bool) for one in known)
    return _Numbers.of(known) if known and is_number else _Names.of(values)


class ScoreModel:
    """A Gaussian process over encoded points and steps; `fitted` makes one."""

    def __init__(
        self, encoder: Encoder, last_step: int, process: Process, mean: float, scale: float
    ) -> None:
        self._encoder, self._last, self._process = encoder, last_step, process
        self._mean, self._scale = mean, scale

    @classmethod
    def fitted(
        cls, trials: Sequence[Scored], others: Sequence[tuple[Mapping[str, Any], int]] = ()
    ) -> "ScoreModel | None":
        """From all scores of all trials; None where there are too few, or all are alike.

        `others`: points and their sizes that will be asked about, whose values it has to know.
        """
        known = [one for one in trials if one.scores]
        if len(known) < FEWEST:
            return None
        points = [*(one.point for one in known), *(point for point, _ in others)]
        sizes = [*(one.n_params for one in known), *(size for _, size in others)]
        last = max(step for one in known for step in one.scores)
        encoder = Encoder(points, sizes)
        told = sorted(
            ((step, place, score) for place, one in enumerate(known)
             for step, score in one.scores.items() if math.isfinite(score)),
            key=lambda each: (-each[0], each[1]),
        )[:MOST_KNOWN]  # fmt: skip
        rows = encoder.rows(points[: len(known)], sizes[: len(known)])
        inputs = np.stack([_at_step(rows[place], step, last) for step, place, _ in told])
        scores = _without_failures(np.array([score for *_, score in told]))
        if np.ptp(scores) <= 0:
            return None
        scale = float(scores.std())
        told_scores = (scores - scores.mean()) / scale
        chosen = np.unique(np.linspace(0, len(scores) - 1, MOST_FITTED).astype(int))
        scales = likeliest(inputs[chosen], told_scores[chosen], encoder.groups)
        process = Process(inputs, told_scores, encoder.groups, scales)
        return cls(encoder, last, process, float(scores.mean()), scale)

    @property
    def noise(self) -> float:
        """Standard deviation of one score over seeds, as the model sees it."""
        return self._scale * math.sqrt(self._process.scales.noise)

    def at(
        self, points: Sequence[Mapping[str, Any]], sizes: Sequence[int], step: int | None = None
    ) -> tuple[Floats, Floats]:
        """(n,) means and (n,) standard errors of what points would score at a step, the last one
        where none is given, on average over seeds.
        """
        mean, error = self._process.at(self._inputs(points, sizes, step))
        return self._mean + self._scale * mean, self._scale * error

    def draws(
        self, points: Sequence[Mapping[str, Any]], sizes: Sequence[int], n: int, seed: int = 0
    ) -> Floats:
        """(n_points, n): scores at the last step, drawn together from what is known."""
        mean, covariance = self._process.together(self._inputs(points, sizes, None))
        drawn = draws(mean, covariance, n, np.random.default_rng(seed))
        return self._mean + self._scale * drawn

    def _inputs(
        self, points: Sequence[Mapping[str, Any]], sizes: Sequence[int], step: int | None
    ) -> Floats:
        rows = self._encoder.rows(points, sizes)
        return np.stack([_at_step(row, step or self._last, self._last) for row in rows])


def _at_step(row: Floats, step: int, last: int) -> Floats:
    """The row with the step's logarithm behind it: 0 at the end, 1 at a hundredth of it."""
    return np.append(row, math.log(last / step) / math.log(100))


def _without_failures(scores: Floats) -> Floats:
    middle, high = np.quantile(scores, [0.5, 0.95])
    return np.maximum(scores, middle - FURTHEST * max(high - middle, 1e-9))


def front_shares(sizes: Sequence[int], drawn: Floats) -> Floats:
    """(n,): in how many of the drawn worlds no other trial that is not larger scores higher.

    drawn: (n, n_draws).
    """
    counts = np.array(sizes)
    top, shares = np.full(drawn.shape[1], -np.inf), np.empty(len(counts))
    for size in np.unique(counts):
        alike = np.flatnonzero(counts == size)
        best = drawn[alike].max(axis=0)
        shares[alike] = ((drawn[alike] == best) & (best > top)).mean(axis=1)
        top = np.maximum(top, best)
    return shares


class Wanted(NamedTuple):
    """What is to be estimated: a point of a model's size; `shift` is added to what it scores, and
    `n_params` is its own size, where it was cut down.
    """

    point: Mapping[str, Any]
    size: int
    n_params: int
    shift: float = 0.0


def estimates(
    trials: Sequence[Scored], wanted: Sequence[Wanted]
) -> list[tuple[float, float, float]]:
    """(estimate, its error, how likely it is on the front of these) of each; [] without a model."""
    model = ScoreModel.fitted(trials)
    if model is None:
        return []
    points, sizes = [one.point for one in wanted], [one.size for one in wanted]
    shifts = np.array([one.shift for one in wanted])
    mean, error = model.at(points, sizes)
    drawn = model.draws(points, sizes, DRAWS) + shifts[:, None]
    shares = front_shares([one.n_params for one in wanted], drawn)
    return list(zip((mean + shifts).tolist(), error.tolist(), shares.tolist(), strict=True))
