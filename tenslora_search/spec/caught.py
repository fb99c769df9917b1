"""caught(): the share of a gradient that an adapter of a structure and ranks can hold at most.

Part the modes of a tensor in two: the rank of that unfolding is at most the smallest product of
axes that part its factors likewise, a minimum cut of the network; so the tensor holds no more than
the unfolding's leading singular values up to there (the bound of HOSVD, De Lathauwer et al., SIAM
J. Matrix Anal. 21(4), 2000, and of trains, Oseledets, SIAM J. Sci. Comput. 33(5), 2011). The least
over all ways to part the modes counts: LoRA's is the sum of the leading squared singular values of
each map.
"""

import math
from bisect import bisect_right
from collections.abc import Mapping, Sequence
from functools import lru_cache
from itertools import product

from tenslora_search.spec.adapter import AdapterSpec
from tenslora_search.spec.constructions import CONSTRUCTIONS
from tenslora_search.spec.geometry import Geometry
from tenslora_search.spec.network import Network
from tenslora_search.spec.table import QuestionError

RANKS = tuple(sorted({base << k for base in (2, 3) for k in range(12)} | {1}))
"""At which the squared singular values of an unfolding are summed: two an octave, up to 6,144."""

Side = frozenset[str]
"""The modes on one side of an unfolding, without the construction's first."""
Held = Mapping[tuple[int, str, Side], Sequence[float]]
"""By shape group, construction and side: what the leading singular values hold up to each of
RANKS, of all copies together, as a share of the whole gradient's squared norm.
"""


def unfoldings(geometry: Geometry) -> list[tuple[int, str, Side]]:
    """Every unfolding of every construction, shape group by shape group, in a fixed order."""
    return [
        (group, name, side)
        for group in range(len(geometry.groups))
        for name, axes in CONSTRUCTIONS.items()
        for side in sides(axes)
    ]


def sides(axes: str) -> list[Side]:
    """The ways to part a construction's modes in two, by the side that lacks the first.

    >>> [sorted(side) for side in sides("input output layer")]
    [['output'], ['layer'], ['layer', 'output']]
    """
    rest = axes.split()[1:]
    chosen = range(1, 2 ** len(rest))
    return [frozenset(name for k, name in enumerate(rest) if one >> k & 1) for one in chosen]


def held_of(geometries: Sequence[Geometry], numbers: Sequence[float]) -> dict[Geometry, Held]:
    """What a probe answered about geometries, one after the other; `QuestionError` for
    another number of numbers than they have.
    """
    found: dict[Geometry, Held] = {}
    left = iter(numbers)
    for geometry in geometries:
        keys = unfoldings(geometry)
        found[geometry] = {key: [one for _, one in zip(RANKS, left, strict=False)] for key in keys}
    n_wanted = len(RANKS) * sum(len(unfoldings(one)) for one in geometries)
    if n_wanted != len(numbers):
        raise QuestionError(
            f"the prior's gradient needs {n_wanted} numbers of the probe gradient_spectra; there "
            f"are {len(numbers)}. Choose another --out, or --force."
        )
    return found


def caught(adapter: AdapterSpec, held: Held) -> float:
    """The share, from 0 to 1, of the gradient that an adapter can hold at most."""
    axes = CONSTRUCTIONS[adapter.construction]
    whole = 0.0
    for group, (net, copies) in enumerate(zip(adapter.networks, adapter.copy_ranks, strict=True)):
        ranks = list(dict.fromkeys(copies))
        shares = [copies.count(one) / len(copies) for one in ranks]
        sizes = [net.sizes(one) for one in ranks]
        whole += min(
            sum(
                share * _up_to(held[group, adapter.construction, side], _cut(net, side, size))
                for share, size in zip(shares, sizes, strict=True)
            )
            for side in sides(axes)
        )
    return whole


def _cut(net: Network, side: Side, sizes: Mapping[str, int]) -> int:
    return min(math.prod(sizes[name] for name in way) for way in _ways(net, side))


@lru_cache(maxsize=4096)
def _ways(net: Network, side: Side) -> tuple[frozenset[str], ...]:
    """The axes whose removal parts the factors as the modes are, but those that hold another."""
    ways: set[frozenset[str]] = set()
    for places in product((False, True), repeat=len(net.factors)):
        touched: dict[str, set[bool]] = {}
        for is_in, factor in zip(places, net.factors, strict=True):
            for axis in factor.axes:
                own = set[bool]() if axis.is_bond else {axis.mode in side}
                touched.setdefault(axis.name, own).add(is_in)
        ways.add(frozenset(name for name, both in touched.items() if len(both) == 2))
    return tuple(
        sorted((one for one in ways if not any(other < one for other in ways)), key=sorted)
    )


def _up_to(held: Sequence[float], rank: int) -> float:
    """Between the ranks at which it is known by the logarithm of the rank."""
    place = bisect_right(RANKS, rank)
    if place == len(RANKS):
        return held[-1]
    low, high = RANKS[place - 1], RANKS[place]
    way = math.log(rank / low) / math.log(high / low)
    return held[place - 1] * (1 - way) + held[place] * way
