"""Limits: what adapters must keep to besides the budget; the sizes at which a structure does."""

from collections.abc import Callable
from math import exp, log
from typing import NamedTuple

from tenslora_search.spec.adapter import AdapterSpec

HALVINGS = 10
"""Of the distance between two sizes, on a logarithmic scale."""

Make = Callable[[int], AdapterSpec]
"""The adapter that an allocator makes of a size; both its count and its ranks grow with it."""


class Limits(NamedTuple):
    """The fewest parameters, and the largest rank of an update as a LoRA pair (servers of many
    adapters set one; None: any, and dense updates too).
    """

    min_params: int = 1
    max_rank: int | None = None

    def is_narrow_enough(self, adapter: AdapterSpec) -> bool:
        """Whether its rank is within the limit."""
        if self.max_rank is None:
            return True
        return adapter.is_low_rank and adapter.slice_rank <= self.max_rank

    def hold(self, adapter: AdapterSpec) -> bool:
        """Whether it keeps to them all."""
        return adapter.n_params >= self.min_params and self.is_narrow_enough(adapter)

    def nearest(self, make: Make, size: int, most: int) -> AdapterSpec | None:
        """The adapter of the size that is nearest to `size`, and at most `most`, among those that
        keep to the limits; None if none does.
        """
        found = make(size)
        if not self.is_narrow_enough(found):
            found = _edge(make, self.is_narrow_enough, 1, size)
        elif found.n_params < self.min_params:
            found = _edge(make, lambda one: one.n_params >= self.min_params, most, size)
        return found if self.hold(found) else None


ANY = Limits()


def _edge(make: Make, accepts: Callable[[AdapterSpec], bool], good: int, bad: int) -> AdapterSpec:
    """The adapter of the accepted size nearest to `bad`, which is not accepted; that of `good`,
    where no other is.
    """
    inside, outside, found = log(good), log(bad), make(good)
    for _ in range(HALVINGS):
        middle = (inside + outside) / 2
        one = make(round(exp(middle)))
        if accepts(one):
            inside, found = middle, one
        else:
            outside = middle
    return found
