"""Student's t: tails and quantiles, by the standard library alone."""

import math
import statistics
from collections.abc import Sequence


def tail(t: float, freedom: float) -> float:
    """P(T > t) for t >= 0: half the incomplete beta function I_x(freedom / 2, 1 / 2) at x =
    freedom / (freedom + t²).

    >>> round(tail(2.776, 4), 4)
    0.025
    """
    return 0.5 * _beta(freedom / 2, 0.5, freedom / (freedom + t * t))


def quantile(probability: float, freedom: float) -> float:
    """The t that T exceeds with this probability, at most one half; by bisection.

    >>> round(quantile(0.025, 4), 3)
    2.776
    """
    low, high = 0.0, 1.0
    while tail(high, freedom) > probability:
        high *= 2
    for _ in range(100):
        middle = (low + high) / 2
        low, high = (middle, high) if tail(middle, freedom) > probability else (low, middle)
    return high


def welch(some: Sequence[float], others: Sequence[float]) -> float:
    """The two-sided p-value of Welch's t-test for equal means; nan for fewer than two scores."""
    if min(len(some), len(others)) < 2:
        return math.nan
    parts = [statistics.variance(one) / len(one) for one in (some, others)]
    difference = abs(statistics.fmean(some) - statistics.fmean(others))
    if not sum(parts):
        return 0.0 if difference else 1.0
    counts = (len(some), len(others))
    freedom = sum(parts) ** 2 / sum(
        part**2 / (count - 1) for part, count in zip(parts, counts, strict=True)
    )
    return 2 * tail(difference / math.sqrt(sum(parts)), freedom)


def _beta(a: float, b: float, x: float) -> float:
    """The regularized incomplete beta function, by its continued fraction (Lentz); DLMF 8.17.22."""
    if x <= 0 or x >= 1:
        return float(x >= 1)
    if x > (a + 1) / (a + b + 2):
        return 1 - _beta(b, a, 1 - x)
    logs = math.lgamma(a + b) - math.lgamma(a) - math.lgamma(b)
    front = math.exp(logs + a * math.log(x) + b * math.log1p(-x)) / a
    tiny, c = 1e-300, 1.0
    d = 1 / ((1 - (a + b) * x / (a + 1)) or tiny)
    found = d
    for m in range(1, 1000):
        even = m * (b - m) * x / ((a + 2 * m - 1) * (a + 2 * m))
        odd = -(a + m) * (a + b + m) * x / ((a + 2 * m) * (a + 2 * m + 1))
        for step in (even, odd):
            d = 1 / ((1 + step * d) or tiny)
            c = (1 + step / c) or tiny
            found *= c * d
        if abs(c * d - 1) < 1e-14:
            break
    return front * found
