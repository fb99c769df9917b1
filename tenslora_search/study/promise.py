"""Promise: which of a sampler's proposals to train first, by the first gradient of the model.

`gradient = 64` in a space's `[prior]`: a proposal after n trials is, with probability 64 / (64 +
n), the most promising of several of about one size. Two shares say what a configuration promises,
each beside others of its size: that of the first gradient which it can hold at most
(`spec/caught.py`), and that of its trained parameters in factors that start at zero, which alone
learn at the first step. Where the complete trials say otherwise, it is left out.
"""

import math
import random
from collections.abc import Mapping, Sequence
from itertools import pairwise
from typing import Any

import numpy as np

from tenslora_search.runs.replay import Record
from tenslora_search.spec.adapter import AdapterSpec
from tenslora_search.spec.caught import caught, held_of
from tenslora_search.study.prior import GRADIENT_PROBE
from tenslora_search.study.space import SearchSpace

CHOICES = 4
"""Proposals among which the most promising is taken."""
USUAL, COUNTS = 0.25, 16
"""The correlation of promise and score at equal size before a run shows any (reports/few_trials.md:
.2 to .4 on four tasks); it counts as so many trials.
"""
LEAST, MOST = 0.05, 256
"""Below such a correlation promises mislead; it is that of the last complete trials, so many."""


class Promise:
    """Reads what the probe has found; `QuestionError` if it was not asked, or about others."""

    def __init__(self, space: SearchSpace) -> None:
        self.space = space
        measured = space.measured.get(GRADIENT_PROBE)
        geometries = list(space.geometries.values())
        self._held = held_of(geometries, measured.numbers if measured else ())
        self._known: dict[int, tuple[float, float]] = {}

    def n_led(self, records: Mapping[int, Record], count: int, seed: int) -> int:
        """How many of the next `count` proposals follow promises."""
        generator, weight = random.Random(f"promise {seed}"), self.space.prior.gradient
        draws = [generator.random() * (weight + len(records)) < weight for _ in range(count)]
        return sum(draws) if any(draws) and not self.misleads(records) else 0

    def chosen(self, points: Sequence[Mapping[str, Any]], count: int, n_led: int) -> list[Any]:
        """`count` of the points: the first ones, then the most promising of each `n_led` groups of
        about one size.
        """
        n_free = max(0, min(len(points), count) - n_led)
        rest = list(points[n_free:])
        adapters = [self.space.trial(one, 0).adapter for one in rest]
        sizes = [one.n_params for one in adapters]
        promises = promised(sizes, [self.shares(one) for one in adapters])
        order = sorted(range(len(rest)), key=lambda k: (sizes[k], k))
        edges = [len(order) * k // n_led for k in range(n_led + 1)]
        groups = [order[first:last] for first, last in pairwise(edges)]
        best = [max(group, key=lambda k: promises[k]) for group in groups if group]
        return [*points[:n_free], *(rest[k] for k in best)]

    def shares(self, adapter: AdapterSpec) -> tuple[float, float]:
        """Of the gradient that it can hold, and of its parameters that start at zero."""
        return caught(adapter, self._held[adapter.geometry]), at_zero(adapter)

    def misleads(self, records: Mapping[int, Record]) -> bool:
        """Whether the complete trials do not bear promises out."""
        complete = (one for one in records.values() if one.state == "complete")
        whole = [one for one in complete if one.cut_from is None][-MOST:]
        for one in whole:
            if one.number not in self._known:
                self._known[one.number] = self.shares(one.spec.adapter)
        if len(whole) < COUNTS // 2:
            return False
        sizes = [one.n_params for one in whole]
        promises = promised(sizes, [self._known[one.number] for one in whole])
        scores = [one.score or 0.0 for one in whole]
        found = agreement(promises, scores, sizes, [one.spec.learning_rate for one in whole])
        return (len(whole) * found + COUNTS * USUAL) / (len(whole) + COUNTS) < LEAST


def at_zero(adapter: AdapterSpec) -> float:
    """The share of the trained parameters in factors that start at zero."""
    zeros = {one.name for one in adapter.networks[0].form.counted if one.start == "zero"}
    counts = adapter.factor_counts
    return sum(count for name, count in counts.items() if name in zeros) / adapter.n_params


def promised(sizes: Sequence[int], shares: Sequence[tuple[float, float]]) -> list[float]:
    """The sum of the shares, each in standard deviations from what its size lets expect."""
    if not sizes:
        return []
    logs = np.log(np.array(sizes, dtype=float))
    parts = [_left(np.array(one), [logs]) for one in zip(*shares, strict=True)]
    return sum((one / (one.std() + 1e-12) for one in parts), np.zeros(len(logs))).tolist()


def agreement(
    promises: Sequence[float], scores: Sequence[float], sizes: Sequence[int], rates: Sequence[float]
) -> float:
    """Spearman's correlation of promises and scores at equal size and learning rate; 0 where it is
    not defined.
    """
    causes = [np.log(np.array(one, dtype=float)) for one in (sizes, rates)]
    causes += [(one - one.mean()) ** 2 for one in causes]
    left = _left(_ranks(np.array(scores)), causes)
    ranks = [_ranks(one) for one in (np.array(promises), left)]
    if min(one.std() for one in (*ranks, left)) < 1e-9:
        return 0.0
    found = float(np.corrcoef(ranks[0], ranks[1])[0, 1])
    return found if math.isfinite(found) else 0.0


def _ranks(values: "np.ndarray[Any, Any]") -> "np.ndarray[Any, Any]":
    """From 1, ties their mean."""
    _, place, count = np.unique(values, return_inverse=True, return_counts=True)
    return (np.cumsum(count) - (count - 1) / 2)[place]


def _left(
    values: "np.ndarray[Any, Any]", causes: Sequence["np.ndarray[Any, Any]"]
) -> "np.ndarray[Any, Any]":
    """What a linear fit in the causes leaves of values."""
    inputs = np.stack([np.ones(len(values)), *causes], 1)
    return values - inputs @ np.linalg.lstsq(inputs, values, rcond=None)[0]
