"""SCALES: what stands in front of an update, y = x W + scale * (x A) B.

`alpha` is the user's multiplier, `rank` the slice rank of the pair, `first_step` the Frobenius norm
of one update after Adam's first step at scale 1 (`Network.first_step`), `output` the width of the
map.
"""

import math
from collections.abc import Callable

from tenslora_search.spec.table import Table

REFERENCE_RANK = 8
"""peft's default LoRA, r = 8 and alpha = 8, sets the step that `matched` gives to every adapter."""


def matched(alpha: float, rank: int, first_step: float, output: int) -> float:
    """Adam's first step moves the weights as far as LoRA's with r = alpha = 8, so that scores
    compare structures.
    """
    return alpha * math.sqrt(REFERENCE_RANK * output / 3) / first_step


def constant(alpha: float, rank: int, first_step: float, output: int) -> float:
    """alpha alone, as in the TensLoRA release."""
    return alpha


def by_rank(alpha: float, rank: int, first_step: float, output: int) -> float:
    """alpha / r, as in LoRA (arXiv 2106.09685)."""
    return alpha / rank


def by_root_rank(alpha: float, rank: int, first_step: float, output: int) -> float:
    """alpha / sqrt(r), as in rsLoRA (arXiv 2312.03732)."""
    return alpha / math.sqrt(rank)


SCALES: Table[Callable[[float, int, float, int], float]] = Table(
    "scale",
    {"matched": matched, "alpha": constant, "alpha/r": by_rank, "alpha/sqrt_r": by_root_rank},
    renamed=True,
)
