"""ALLOCATORS: how a number of parameters is spent. An entry's knobs are keyword parameters; it
returns an `Allocator`.
"""

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cache
from itertools import pairwise
from typing import Annotated, NamedTuple

from tenslora_search.spec.geometry import STACKED
from tenslora_search.spec.knobs import Range
from tenslora_search.spec.network import Network
from tenslora_search.spec.structure import Ranks, Structure
from tenslora_search.spec.table import NothingFitsError, QuestionError, Table

Allocation = Ranks | tuple[Ranks, ...]
"""Ranks for `AdapterSpec.over`: one tuple for all copies, or a tuple for each."""

SPREAD = 6.0
"""Weights 0 and 1 are this far apart in log rank: a factor of 400."""


class Measured(NamedTuple):
    """The answer of a probe, and the projections that it was asked about."""

    numbers: tuple[float, ...] = ()
    projections: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Allocator:
    """Ranks from a structure, a number of parameters, a weight in [0, 1] for each bond, and what
    the probe that it `needs` has found.

    What `divide` returns is within the size and the caps, and the same each time; ranks of 1 where
    nothing else fits. `needs` names an entry of PROBES (training/probes.py), which is asked once,
    before the first trial; without one `divide` is given an empty answer. `over` are the stacked
    axes along which it tells copies apart: a structure that shares its factors over one of them
    cannot be divided so.
    """

    divide: Callable[[Structure, int, Sequence[float], Measured], Allocation]
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

    def divide(
        structure: Structure, size: int, weights: Sequence[float], measured: Measured
    ) -> Ranks:
        return level_ranks(structure, size, weights)

    return Allocator(divide)


def ramp(*, ratio: Annotated[float, Range(1 / 8, 8.0, log=True)] = 3.0) -> Allocator:
    """Ranks that change linearly from the first layer to the last, which has `ratio` times as much.

    Otherwise as `level`. Only for structures with factors of their own for each layer.
    Reference: PRILoRA, arXiv 2401.11316, whose ranks run from 4 to 12.
    """

    def share(net: Network, copy: int) -> float:
        at = _layer(net, copy) / max(1, net.group.layers - 1)
        return (1 + (ratio - 1) * at) / max(1.0, ratio)

    def divide(
        structure: Structure, size: int, weights: Sequence[float], measured: Measured
    ) -> Allocation:
        return _by_copy(structure, size, weights, share)

    return Allocator(divide, over=("layer",))


def gelora() -> Allocator:
    """Ranks that grow where the hidden states gain dimensions: layer i has a weight of
    max(round d(i+1) - round d(i), 0) + 1, d(i) the intrinsic dimension of what enters it.

    Reference: GeLoRA, arXiv 2412.09250, read in two reviews that agree on these ranks, the same for
    all maps of a layer. Our reading: they are multiplied by the factor that fills the size, the
    states are means over tokens, and structures other than LoRA may be divided so.
    """

    def divide(
        structure: Structure, size: int, weights: Sequence[float], measured: Measured
    ) -> Allocation:
        n_layers = structure.geometry.groups[0].layers
        _check(measured, n_layers + 1, "gelora", "intrinsic_dimension")
        gains = [
            max(round(after) - round(before), 0) + 1 for before, after in pairwise(measured.numbers)
        ]
        return _by_copy(
            structure, size, weights, lambda net, copy: gains[_layer(net, copy)] / max(gains)
        )

    return Allocator(divide, needs="intrinsic_dimension", over=("layer",))


def gradient() -> Allocator:
    """Ranks proportional to the norm of the first gradient of the maps that a copy adapts, layer by
    layer, and map by map where each has factors of its own.

    Ours: what is to change most gets most.
    """

    def divide(
        structure: Structure, size: int, weights: Sequence[float], measured: Measured
    ) -> Allocation:
        n_layers, asked = structure.geometry.groups[0].layers, measured.projections
        _check(measured, n_layers * len(asked), "gradient", "gradient_energy")

        def energy(net: Network, copy: int) -> float:
            names, layer = net.group.projections, _layer(net, copy)
            if "projection" in net.looped:
                names = (names[copy // n_layers],)
            found = [measured.numbers[asked.index(name) * n_layers + layer] for name in names]
            return math.hypot(*found)

        most = max(energy(net, copy) for net in structure.networks for copy in range(net.copies))
        return _by_copy(
            structure, size, weights, lambda net, copy: energy(net, copy) / most if most else 1.0
        )

    return Allocator(divide, needs="gradient_energy", over=("layer",))


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

    low = -math.log(max(shape, default=1.0)) - 1
    high = math.log(_LARGEST) - math.log(min(shape, default=1.0))
    if structure.count(at(low)) > budget:
        return _grown((1,) * n_bonds, structure, budget, shape)
    for _ in range(50):
        middle = (low + high) / 2
        low, high = (middle, high) if structure.count(at(middle)) <= budget else (low, middle)
    return _grown(at(low), structure, budget, shape)


_LARGEST = 1 << 16
_HALVINGS = 24


def level_ranks(structure: Structure, size: int, weights: Sequence[float]) -> Ranks:
    """The ranks that `level` gives: one tuple for all copies."""
    limit_logs = [math.log(limit) for limit in structure.limits]
    offsets = [SPREAD * (weight - 0.5) for weight in weights]

    @cache
    def fitted(*wanted: int) -> tuple[Ranks, bool]:
        ranks = structure.clip(wanted)
        return ranks, structure.count(ranks) <= size

    low, high = -SPREAD, min(math.log(max(1, size)), max(limit_logs, default=0.0)) + SPREAD
    best = (1,) * len(offsets)
    for _ in range(_HALVINGS):
        middle = (low + high) / 2
        ranks, fits = fitted(
            *(
                max(1, round(math.exp(min(top, middle + offset))))
                for top, offset in zip(limit_logs, offsets, strict=True)
            )
        )
        if fits:
            low, best = middle, ranks
        else:
            high = middle
    return best


def _by_copy(
    structure: Structure,
    size: int,
    weights: Sequence[float],
    share: Callable[[Network, int], float],
) -> tuple[Ranks, ...]:
    """As `level`, but for each copy of a network times its share, which is 1 at most; all copies in
    order.
    """
    if any("layer" not in net.looped for net in structure.networks):
        raise QuestionError(
            f"{structure} shares its factors over the layers, so its ranks cannot differ from "
            "layer to layer; use a construction without depth."
        )
    tops, offsets = structure.limits, [SPREAD * (weight - 0.5) for weight in weights]
    shares = [[share(net, copy) for copy in range(net.copies)] for net in structure.networks]

    def of_copy(net: Network, slope: float, height: float) -> Ranks:
        wanted = [
            max(1, min(top, round(math.exp(height + offset) * slope)))
            for top, offset in zip(tops, offsets, strict=True)
        ]
        return net.clip(wanted)

    low, high = -SPREAD, math.log(max(1, size, *tops)) + 2 * SPREAD
    best = ((1,) * len(tops),) * structure.n_copies
    for _ in range(_HALVINGS):
        middle, found, cost = (low + high) / 2, list[Ranks](), 0
        for net, slopes in zip(structure.networks, shares, strict=True):
            ranks = {slope: of_copy(net, slope, middle) for slope in set(slopes)}
            counts = {slope: net.count(one) for slope, one in ranks.items()}
            found += [ranks[slope] for slope in slopes]
            cost += sum(counts[slope] for slope in slopes)
        if cost <= size:
            low, best = middle, tuple(found)
        else:
            high = middle
    return best


def _layer(net: Network, copy: int) -> int:
    """The layer of a copy: the last of the looped axes."""
    assert STACKED[-1] == "layer"
    return copy % net.group.layers


def _check(measured: Measured, n: int, allocator: str, probe: str) -> None:
    """`QuestionError` unless a probe has answered with so many numbers."""
    if len(measured.numbers) != n or not n:
        raise QuestionError(
            f"allocator {allocator} takes its ranks from {n} numbers of the probe {probe}; there "
            f"are {len(measured.numbers)}."
        )


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
    "allocator", {entry.__name__: entry for entry in (level, ramp, gelora, gradient)}
)
