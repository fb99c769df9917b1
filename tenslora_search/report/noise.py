"""Noise: how far apart two report scores must be before their difference means something; from the
spread of the retests.
"""

import math
from collections.abc import Iterable
from dataclasses import dataclass

from tenslora_search.report.rows import Row


@dataclass(frozen=True)
class Noise:
    """The standard deviation of one score over seeds, pooled over all retested trials, with its
    degrees of freedom.
    """

    std: float
    freedom: int

    def margin(self, n_one: int, n_other: int) -> float:
        """Means of so many seeds differ beyond the noise (95 %) when farther apart than t s
        sqrt(1/n + 1/m).
        """
        t = STUDENT[min(self.freedom, len(STUDENT)) - 1]
        return t * self.std * math.sqrt(1 / n_one + 1 / n_other)


def noise(rows: Iterable[Row], least: float = 0.0) -> Noise | None:
    """s² = sum (n - 1) s_i² / sum (n - 1); None where no trial was retested twice.

    The standard deviation is `least` or more: seeds that happen to agree do not measure finer than
    the report split does.
    """
    again = [one for one in rows if one.n_retests > 1 and not math.isnan(one.report_std)]
    if not again:
        return None
    freedom = sum(one.n_retests - 1 for one in again)
    squares = sum((one.n_retests - 1) * one.report_std**2 for one in again)
    pooled = math.sqrt(squares / freedom)
    return Noise(max(pooled, least), freedom)


STUDENT = (
    12.706, 4.303, 3.182, 2.776, 2.571, 2.447, 2.365, 2.306, 2.262, 2.228, 2.201, 2.179,
    2.160, 2.145, 2.131, 2.120, 2.110, 2.101, 2.093, 2.086, 2.080, 2.074, 2.069, 2.064, 2.060,
    2.056, 2.052, 2.048, 2.045, 2.042,
)  # fmt: skip
"""The 97.5 % points of Student's t for 1 to 30 degrees of freedom; beyond, the last is kept."""
