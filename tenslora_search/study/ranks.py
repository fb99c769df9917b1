"""adapter_of(): an adapter of a size, whose pairs have no larger rank than servers take."""

from collections.abc import Sequence

from tenslora_search.spec.adapter import AdapterSpec
from tenslora_search.spec.allocators import Allocator, Measured
from tenslora_search.spec.structure import Structure


def adapter_of(
    structure: Structure,
    size: int,
    allocator: Allocator,
    weights: Sequence[float],
    measured: Measured,
    scale: str,
    most: int | None,
) -> AdapterSpec:
    """By what an allocator makes of a size; where a pair's rank is then more than `most` the
    largest of those smaller at which none is, down to the smallest of the structure.
    """

    def of(size: int) -> AdapterSpec:
        ranks = allocator.divide(structure, size, weights, measured)
        return AdapterSpec.over(structure, ranks, scale=scale).canonical()

    adapter = of(size)
    if most is None or adapter.slice_rank <= most:
        return adapter
    low, high = structure.smallest, size
    while high - low > 1 + low // 100:
        between = (low + high) // 2
        low, high = (between, high) if of(between).slice_rank <= most else (low, between)
    return of(low)
