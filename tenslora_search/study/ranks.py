"""adapter_of(): an adapter of a size, whose pairs have no larger rank than servers take."""

from collections.abc import Callable

from tenslora_search.spec.adapter import AdapterSpec
from tenslora_search.spec.allocators import Allocation
from tenslora_search.spec.structure import Structure


def adapter_of(
    structure: Structure,
    divide: Callable[[int], Allocation],
    size: int,
    scale: str,
    most: int | None,
) -> AdapterSpec:
    """By what an allocator makes of a size (`divide`); where a pair's rank is then more than `most`
    the largest of those smaller at which none is, down to the smallest of the structure.
    """

    def of(size: int) -> AdapterSpec:
        return AdapterSpec.over(structure, divide(size), scale=scale).canonical()

    adapter = of(size)
    if most is None or adapter.slice_rank <= most:
        return adapter
    low, high = structure.smallest, size
    while high - low > 1 + low // 100:
        between = (low + high) // 2
        low, high = (between, high) if of(between).slice_rank <= most else (low, between)
    return of(low)
