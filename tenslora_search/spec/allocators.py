"""ALLOCATORS: how a number of parameters is spent. An entry's knobs are keyword parameters; it
returns an `Allocator`.
"""

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Annotated

from tenslora_search.spec.geometry import STACKED
from tenslora_search.spec.knobs import Range
from tenslora_search.spec.network import Network
from tenslora_search.spec.structure import Ranks, Structure
from tenslora_search.spec.table import NothingFitsError, QuestionError, Table

Allocation = Ranks | tuple[Ranks, ...]
"""Ranks for `AdapterSpec.over`: one tuple for all copies, or a tuple for each."""

SPREAD = 6.0
"""Weights 0 and 1 are this far apart in log rank: a factor of 400."""


@dataclass(frozen=True, slots=True)
class Allocator:
    """Ranks from a structure, a number of parameters and a weight in [0, 1] for each bond.

    What `divide` returns is within the size and the caps, and the same each time; ranks of 1 where
    nothing else fits. `needs` names the probe of the model that it takes numbers from, if any.
    `over` are the stacked axes along which it tells copies apart: a structure that shares its
    factors over one of them cannot be divided so.
    """

    divide: Callable[[Structure, int, Sequence[float]], Allocation]
    needs: str = ""
    over: tuple[str, ...] = ()

    def can_divide(self, structure: Structure) -> bool:
        """Whether the structure has a tensor for each index of the axes in `over`."""
        return all(axis in net.looped for net in structure.networks for axis in self.over)


def level() -> Allocator:
    """The same ranks for all copies: all bonds rise to one level, each times its weight's factor.

    Ranks are min(limit, level e^(SPREAD (weight - 1/2))), at least 1 and lowered to their caps, at
    the highest level whose exact count is within the size.
    """
    return Allocator(_level)


def ramp(*, ratio: Annotated[float, Range(1 / 8, 8.0, log=True)] = 3.0) -> Allocator:
    """Ranks that change linearly from the first layer to the last, which has `ratio` times as much.

    Otherwise as `level`. Only for structures with factors of their own for each layer.
    Reference: PRILoRA, arXiv 2401.11316, whose ranks run from 4 to 12.
    """

    def divide(structure: Structure, size: int, weights: Sequence[float]) -> Allocation:
        return _ramp(structure, size, weights, ratio)

    return Allocator(divide, over=("layer",))


def proportional(structure: Structure, budget: int, weights: Sequence[float] = ()) -> Ranks:
    """Ranks proportional to a weight for each bond (equal unless given), as large as fits, then
    single steps while any bond can grow.

    `NothingFitsError` if ranks of 1 are over the budget.
    """
    n_bonds = len(structure.bonds)
    shape = _weights(weights, n_bonds, structure)
    if structure.smallest > budget:
        raise NothingFitsError(
            f"{structure} needs at least {structure.smallest:,} parameters here; the budget is "
            f"{budget:,}."
        )

    def at(height: float) -> Ranks:
        wanted = [max(1, min(round(math.exp(height) * weight), _LARGEST)) for weight in shape]
        return structure.clip(wanted)

    low, high = -math.log(max(shape)) - 1, math.log(_LARGEST) - math.log(min(shape))
    if structure.count(at(low)) > budget:
        return _grown((1,) * n_bonds, structure, budget, shape)
    for _ in range(50):
        middle = (low + high) / 2
        low, high = (middle, high) if structure.count(at(middle)) <= budget else (low, middle)
    return _grown(at(low), structure, budget, shape)


_LARGEST = 1 << 16
_HALVINGS = 24


def _level(structure: Structure, size: int, weights: Sequence[float]) -> Ranks:
    limit_logs = [math.log(limit) for limit in structure.limits]
    offsets = [SPREAD * (weight - 0.5) for weight in weights]

    def at(height: float) -> Ranks:
        wanted = [
            max(1, round(math.exp(min(top, height + offset))))
            for top, offset in zip(limit_logs, offsets, strict=True)
        ]
        return structure.clip(wanted)

    low, high = -SPREAD, min(math.log(max(1, size)), max(limit_logs)) + SPREAD
    best = (1,) * len(offsets)
    for _ in range(_HALVINGS):
        middle = (low + high) / 2
        ranks = at(middle)
        if structure.count(ranks) <= size:
            low, best = middle, ranks
        else:
            high = middle
    return best


def _ramp(
    structure: Structure, size: int, weights: Sequence[float], ratio: float
) -> tuple[Ranks, ...]:
    if any("layer" not in net.looped for net in structure.networks):
        raise QuestionError(
            f"{structure} shares its factors over the layers, so its ranks cannot ramp; use a "
            "construction without depth."
        )
    tops, offsets = structure.limits, [SPREAD * (weight - 0.5) for weight in weights]

    def of_layer(net: Network, layer: int, height: float) -> Ranks:
        share = layer / max(1, net.group.layers - 1)
        slope = (1 + (ratio - 1) * share) / max(1.0, ratio)
        wanted = [
            max(1, min(top, round(math.exp(height + offset) * slope)))
            for top, offset in zip(tops, offsets, strict=True)
        ]
        return net.clip(wanted)

    def at(height: float) -> list[list[Ranks]]:
        """For each shape group the ranks of each layer."""
        return [
            [of_layer(net, layer, height) for layer in range(net.group.layers)]
            for net in structure.networks
        ]

    def cost(found: list[list[Ranks]]) -> int:
        pairs = zip(structure.networks, found, strict=True)
        return sum(
            net.copies // net.group.layers * sum(map(net.count, layers)) for net, layers in pairs
        )

    low, high = -SPREAD, math.log(max(1, size, *tops)) + 2 * SPREAD
    best = [[(1,) * len(tops)] * net.group.layers for net in structure.networks]
    for _ in range(_HALVINGS):
        middle = (low + high) / 2
        found = at(middle)
        if cost(found) <= size:
            low, best = middle, found
        else:
            high = middle
    return _of_copies(structure, best)


def _of_copies(structure: Structure, by_layer: list[list[Ranks]]) -> tuple[Ranks, ...]:
    """Ranks of each copy in order: layer is the last of the looped axes."""
    assert STACKED[-1] == "layer"
    found: list[Ranks] = []
    for net, layers in zip(structure.networks, by_layer, strict=True):
        found += layers * (net.copies // net.group.layers)
    return tuple(found)


def _weights(weights: Sequence[float], n: int, structure: Structure) -> Sequence[float]:
    if len(weights) not in (0, n):
        raise QuestionError(f"there are {n} bonds of {structure}; got {len(weights)} weights.")
    if any(not 0 < weight < math.inf for weight in weights):
        raise QuestionError(f"weights are positive numbers; got {', '.join(map(str, weights))}.")
    return weights or (1.0,) * n


def _grown(ranks: Ranks, structure: Structure, budget: int, shape: Sequence[float]) -> Ranks:
    """Adds 1 to the bond furthest below its weight, again and again, until none can grow."""
    growing = True
    while growing:
        growing = False
        for k in sorted(range(len(ranks)), key=lambda k: (ranks[k] / shape[k], k)):
            step = (*ranks[:k], ranks[k] + 1, *ranks[k + 1 :])
            if structure.clip(step) == step and structure.count(step) <= budget:
                ranks, growing = step, True
                break
    return ranks


ALLOCATORS: Table[Callable[..., Allocator]] = Table(
    "allocator", {entry.__name__: entry for entry in (level, ramp)}
)
