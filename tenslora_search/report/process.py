"""Process: a Gaussian process with a length for each group of features; numpy alone, so that a
report needs no more.

Reference: Rasmussen and Williams, Gaussian Processes for Machine Learning, 2006, algorithm 2.1;
kernel Matérn 5/2, equation 4.17.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float64]

LENGTHS = (0.5, 1.5, 4.0, 20.0)
"""In shares of a feature's range: over which scores change."""
NOISES, AMPLITUDES = (0.003, 0.01, 0.04, 0.15, 0.5), (0.5, 1.0, 3.0)
"""In shares of the scores' variance."""
ROUNDS = 2
"""Of choosing one scale after the other."""


@dataclass(frozen=True)
class Scales:
    """How fast scores change along each group of features, how far, and their noise."""

    lengths: tuple[float, ...]
    amplitude: float = 1.0
    noise: float = 0.04

    def variants(self) -> "list[list[Scales]]":
        """For each scale this one with each of its values in its place."""
        found = [
            [Scales(self.lengths, self.amplitude, one) for one in NOISES],
            [Scales(self.lengths, one, self.noise) for one in AMPLITUDES],
        ]
        for place in range(len(self.lengths)):
            before, after = self.lengths[:place], self.lengths[place + 1 :]
            found.append(
                [Scales((*before, one, *after), self.amplitude, self.noise) for one in LENGTHS]
            )
        return found


class Process:
    """What is known of inputs (n, n_features) with scores (n,) of mean 0 and variance 1.

    groups: for each feature the group that it belongs to, from 0; a group has one length.
    """

    def __init__(
        self, inputs: Floats, scores: Floats, groups: Sequence[int], scales: Scales
    ) -> None:
        self.scales = scales
        self._stretch = 1 / np.array([scales.lengths[group] for group in groups])
        self._inputs = inputs * self._stretch
        within = scales.amplitude * _matern(_squares(self._inputs, self._inputs))
        root = np.linalg.cholesky(within + scales.noise * np.eye(len(inputs)))
        self._inverse = np.linalg.inv(root)
        self._weights = self._inverse.T @ (self._inverse @ scores)

    def at(self, inputs: Floats) -> tuple[Floats, Floats]:
        """(m,) means and (m,) standard deviations of what lies under the noise."""
        across = self._across(inputs)
        known = self._inverse @ across.T
        variance = self.scales.amplitude - (known**2).sum(0)
        return across @ self._weights, np.sqrt(np.maximum(variance, 1e-12))

    def together(self, inputs: Floats) -> tuple[Floats, Floats]:
        """(m,) means and their (m, m) covariance."""
        across = self._across(inputs)
        known = self._inverse @ across.T
        stretched = inputs * self._stretch
        own = self.scales.amplitude * _matern(_squares(stretched, stretched))
        return across @ self._weights, own - known.T @ known

    def _across(self, inputs: Floats) -> Floats:
        squares = _squares(inputs * self._stretch, self._inputs)
        return self.scales.amplitude * _matern(squares)


def likeliest(inputs: Floats, scores: Floats, groups: Sequence[int]) -> Scales:
    """One scale after the other at its likeliest value of a few; the same each time."""
    columns = np.array(groups)
    squares = [
        _squares(inputs[:, columns == one], inputs[:, columns == one])
        for one in range(max(groups) + 1)
    ]
    best = Scales((LENGTHS[1],) * len(squares))
    most = _likelihood(squares, scores, best)
    for _ in range(ROUNDS):
        for place in range(len(best.variants())):
            for tried in best.variants()[place]:
                found = _likelihood(squares, scores, tried)
                if found > most:
                    best, most = tried, found
    return best


def _likelihood(squares: Sequence[Floats], scores: Floats, scales: Scales) -> float:
    """Its logarithm, but for a constant; equation 2.30."""
    pairs = zip(squares, scales.lengths, strict=True)
    apart = np.sum([one / length**2 for one, length in pairs], axis=0)
    within = scales.amplitude * _matern(apart) + scales.noise * np.eye(len(scores))
    root = np.linalg.cholesky(within)
    told = np.linalg.solve(root, scores)
    return float(-0.5 * told @ told - np.log(np.diag(root)).sum())


def _squares(one: Floats, other: Floats) -> Floats:
    """(n, m): squared distances of rows."""
    both = (one**2).sum(1)[:, None] + (other**2).sum(1)[None, :] - 2 * one @ other.T
    return np.maximum(both, 0.0)


def _matern(squares: Floats) -> Floats:
    far = np.sqrt(5 * squares)
    return (1 + far + far**2 / 3) * np.exp(-far)


def draws(mean: Floats, covariance: Floats, n: int, generator: np.random.Generator) -> Floats:
    """(m, n) draws of a normal distribution."""
    roots, vectors = np.linalg.eigh(covariance)
    wide = vectors * np.sqrt(np.maximum(roots, 0.0))
    return mean[:, None] + wide @ generator.standard_normal((len(mean), n))
