"""ALLOCATORS: a budget and weights -> ranks that fit it, by arithmetic.

Each takes (construction, decomposition, geometry, budget, weights) and gives ranks for
`AdapterSpec.of`: one tuple for all copies, or a tuple for each. Within the budget and the caps,
deterministic; `NothingFitsError` if ranks of 1 do not fit.
"""

import math
from collections.abc import Callable, Sequence

from tenslora_search.spec.adapter import Ranks, bonds, clip, count
from tenslora_search.spec.geometry import STACKED, Geometry
from tenslora_search.spec.network import network
from tenslora_search.spec.table import NothingFitsError, QuestionError, Table

Allocation = Ranks | tuple[Ranks, ...]


def uniform(
    construction: str,
    decomposition: str,
    geometry: Geometry,
    budget: int,
    weights: Sequence[float] = (),
) -> Ranks:
    """The same rank for every bond, each lowered to its cap: the largest that fits, then bonds grow
    while any can.
    """
    return proportional(construction, decomposition, geometry, budget, ())


def proportional(
    construction: str,
    decomposition: str,
    geometry: Geometry,
    budget: int,
    weights: Sequence[float] = (),
) -> Ranks:
    """Ranks proportional to a weight for each bond, as large as fits, then single steps while any
    bond can grow.
    """
    names = bonds(construction, decomposition, geometry)
    shape = _weights(weights, len(names), f"bonds of {decomposition} over {construction}")

    def at(level: float) -> Ranks:
        wanted = [max(1, min(round(math.exp(level) * weight), _LARGEST)) for weight in shape]
        return clip(construction, decomposition, wanted, geometry)

    def cost(ranks: Ranks) -> int:
        return count(construction, decomposition, ranks, geometry)

    smallest = (1,) * len(names)
    if cost(smallest) > budget:
        raise NothingFitsError(
            f"{construction} x {decomposition} needs at least {cost(smallest):,} parameters here; "
            f"the budget is {budget:,}."
        )
    low, high = -math.log(max(shape)) - 1, math.log(_LARGEST) - math.log(min(shape))
    if cost(at(low)) > budget:
        return _grow(smallest, construction, decomposition, geometry, budget, shape)
    for _ in range(50):
        middle = (low + high) / 2
        low, high = (middle, high) if cost(at(middle)) <= budget else (low, middle)
    return _grow(at(low), construction, decomposition, geometry, budget, shape)


def per_copy(
    construction: str,
    decomposition: str,
    geometry: Geometry,
    budget: int,
    weights: Sequence[float] = (),
) -> tuple[Ranks, ...]:
    """Each copy gets a share of the budget in proportion to its weight, spent evenly on its bonds.

    For allocators that score matrices (GeLoRA's intrinsic dimensions, AdaLoRA's importance): give
    the scores as weights.
    """
    networks = [network(construction, decomposition, group) for group in geometry.groups]
    owners = [net for net in networks for _ in range(net.copies)]
    shape = _weights(weights, len(owners), f"copies of {construction}")
    ranks: list[Ranks] = [(1,) * len(net.bonds) for net in owners]
    spent = sum(net.count(one) for net, one in zip(owners, ranks, strict=True))
    if spent > budget:
        raise NothingFitsError(
            f"{construction} x {decomposition} needs at least {spent:,} parameters here; the "
            f"budget is {budget:,}."
        )
    growing = set(range(len(owners)))
    while growing:
        # The copy that is furthest below its share takes the next step; one that cannot step leaves
        # the round.
        k = min(growing, key=lambda k: (owners[k].count(ranks[k]) / shape[k], k))
        net = owners[k]
        step = net.clip([rank + 1 for rank in ranks[k]])
        cost = net.count(step) - net.count(ranks[k])
        if cost <= 0 or spent + cost > budget:
            growing.discard(k)
        else:
            ranks[k], spent = step, spent + cost
    return tuple(ranks)


def linear(
    construction: str,
    decomposition: str,
    geometry: Geometry,
    budget: int,
    weights: Sequence[float] = (),
) -> tuple[Ranks, ...]:
    """A ramp over the layers from the first weight to the second (1 to 3 unless given), as PRILoRA
    (arXiv 2401.11316) does.
    """
    if len(weights) not in (0, 2):
        raise QuestionError(
            f"linear takes two weights, of the first layer and of the last; got {len(weights)}."
        )
    first, last = weights or (1.0, 3.0)
    ramp: list[float] = []
    for group in geometry.groups:
        looped = network(construction, decomposition, group).looped
        if "layer" not in looped:
            raise QuestionError(
                f"{construction} shares its factors over the layers, so ranks cannot ramp; use "
                "one without depth."
            )
        layers = [
            first + (last - first) * layer / max(1, group.layers - 1)
            for layer in range(group.layers)
        ]
        ramp += layers * (
            math.prod(group.size(axis) for axis in STACKED if axis in looped) // group.layers
        )
    return per_copy(construction, decomposition, geometry, budget, ramp)


_LARGEST = 1 << 16


def _weights(weights: Sequence[float], n: int, what: str) -> Sequence[float]:
    if len(weights) not in (0, n):
        raise QuestionError(f"there are {n} {what}; got {len(weights)} weights.")
    if any(not 0 < weight < math.inf for weight in weights):
        raise QuestionError(f"weights are positive numbers; got {', '.join(map(str, weights))}.")
    return weights or (1.0,) * n


def _grow(
    ranks: Ranks,
    construction: str,
    decomposition: str,
    geometry: Geometry,
    budget: int,
    shape: Sequence[float],
) -> Ranks:
    """Adds 1 to the bond furthest below its weight, again and again, until none can grow."""
    growing = True
    while growing:
        growing = False
        for k in sorted(range(len(ranks)), key=lambda k: (ranks[k] / shape[k], k)):
            step = (*ranks[:k], ranks[k] + 1, *ranks[k + 1 :])
            if (
                clip(construction, decomposition, step, geometry) == step
                and count(construction, decomposition, step, geometry) <= budget
            ):
                ranks, growing = step, True
                break
    return ranks


ALLOCATORS: Table[Callable[..., Allocation]] = Table(
    "allocator", {entry.__name__: entry for entry in (uniform, proportional, per_copy, linear)}
)
