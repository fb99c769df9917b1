"""Network: the factors of one construction x decomposition over one shape group, and what follows
from their names.

Count, caps, slice rank and first-step size are products of sizes along names; no method has a
formula of its own.
"""

import math
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property, lru_cache
from itertools import product
from typing import cast

from tenslora_search.spec.form import OUTPUT_MODES, Axis, Factor, Form
from tenslora_search.spec.geometry import STACKED, Group
from tenslora_search.spec.knobs import Options
from tenslora_search.spec.table import QuestionError

UNBOUNDED = 1 << 40
"""Stands for the size of a bond when only the limits set by the modes are asked for."""


Carrier = tuple[int, tuple[int, ...]]
"""A factor around a bond: its fixed size, and the places of its other bonds."""


@dataclass(frozen=True)
class Cut:
    """How the factors split into a pair: `left` holds the input, `right` the output; the shared
    `bonds` make its rank.
    """

    left: tuple[int, ...]
    right: tuple[int, ...]
    bonds: tuple[str, ...]


@dataclass(frozen=True, eq=False)
class Network:
    """The form of each of `copies` tensors over a shape group. Ranks are given in the order of
    `bonds`.

    What is contracted decides cut, caps and slice rank; what is learnt, the count.
    """

    group: Group
    form: Form

    @property
    def factors(self) -> tuple[Factor, ...]:
        """The factors that are contracted."""
        return self.form.factors

    @cached_property
    def bonds(self) -> tuple[str, ...]:
        """Names of the ranks, in the order in which the factors are done with them: along a chain,
        or as a core lists them.
        """
        names = [axis.name for factor in self.factors for axis in factor.axes if axis.is_bond]
        return tuple(reversed(dict.fromkeys(reversed(names))))

    @cached_property
    def looped(self) -> tuple[str, ...]:
        """The stacked axes that no factor spans: each index has a tensor of its own."""
        spanned = {axis.mode for factor in self.factors for axis in factor.axes}
        return tuple(axis for axis in STACKED if axis not in spanned)

    @cached_property
    def copies(self) -> int:
        return math.prod(self.group.size(axis) for axis in self.looped)

    def count(self, ranks: Sequence[int]) -> int:
        """Trained parameters of one copy: the sizes along each factor that is learnt and not
        frozen, multiplied, then added.
        """
        return sum(size * math.prod([ranks[k] for k in carried]) for size, carried in self._terms)

    def caps(self, ranks: Sequence[int]) -> tuple[int, ...]:
        """The largest useful value of each rank while the others stay: beyond it an unfolding has
        no rank left to give.

        For the factors around a bond, leaving out what all of them share: the bond is at most the
        product of all sizes but one factor's. A tall factor gives r <= n, a Tucker core r_k <=
        product of the others, CP the product of all modes but the largest. Bonds around the same
        factors (a ring of two cores) share one limit, of which the earlier takes first. A form may
        set lower ones (`Form.limits`).
        """
        result: list[int] = []
        for carriers, twins, lowest in self._around:
            around = [fixed * math.prod([ranks[k] for k in others]) for fixed, others in carriers]
            taken = math.prod([ranks[k] for k in twins if ranks[k] < UNBOUNDED])
            cap = max(1, math.prod(around) // max(around) // taken)
            result.append(cap if lowest is None else min(cap, lowest))
        return tuple(result)

    def clip(self, ranks: Sequence[int]) -> tuple[int, ...]:
        """The ranks, lowered to their caps until none is above."""
        current = tuple(max(1, rank) for rank in ranks)
        while True:
            caps = self.caps(current)
            lowered = tuple(map(min, current, caps))
            if lowered == current:
                return current
            # One at a time, from the largest excess: lowering one rank may lower the cap of
            # another.
            worst = max(range(len(caps)), key=lambda k: current[k] / caps[k])
            current = (*current[:worst], caps[worst], *current[worst + 1 :])

    def cut(self, ranks: Sequence[int]) -> Cut:
        """The split into a pair of the smallest rank; on a tie most factors go to the output's
        side. A dense form has none.
        """
        return _cut(self, tuple(ranks))

    def slice_rank(self, ranks: Sequence[int]) -> int:
        """The rank of the pair at every site; of a dense update the smaller side of the map."""
        if self.form.dense:
            return min(self.group.input, self.group.output)
        sizes = dict(zip(self.bonds, ranks, strict=True))
        return math.prod(sizes[name] for name in self.cut(ranks).bonds)

    def first_step(self, ranks: Sequence[int]) -> float:
        """Frobenius norm of one site's update after Adam's first step, in units of learning rate x
        scale (methods.md 2.7).

        Entries are independent with mean zero, so squares add: input x output x product of bonds x
        product of variances, where the factor that started at zero holds +1 and -1. A form of which
        that is not true says its own.
        """
        sizes = self.sizes(ranks)
        if self.form.first_step is not None:
            return self.form.first_step(sizes)
        variance = 1.0
        for factor in self.factors:
            variance /= math.prod(sizes[name] for name in factor.fan) * (
                3 if factor.start == "uniform" else 1
            )
        return math.sqrt(self.group.input * self.group.output * math.prod(ranks) * variance)

    def sizes(self, ranks: Sequence[int]) -> dict[str, int]:
        """The length of every axis by name."""
        modes = {
            axis.name: axis.size
            for factor in (*self.factors, *self.form.trained)
            for axis in factor.axes
            if axis.size is not None
        }
        return {**modes, **dict(zip(self.bonds, ranks, strict=True))}

    @cached_property
    def _terms(self) -> tuple[tuple[int, tuple[int, ...]], ...]:
        return tuple(
            (
                math.prod(axis.size for axis in factor.axes if axis.size is not None),
                tuple(self.bonds.index(axis.name) for axis in factor.axes if axis.is_bond),
            )
            for factor in self.form.learnt
            if not factor.frozen
        )

    @cached_property
    def _around(self) -> tuple[tuple[tuple[Carrier, ...], tuple[int, ...], int | None], ...]:
        """For each bond: the factors that carry it, less what they all share; the earlier bonds
        that join the same factors; the limit that the form sets.
        """
        carriers = [
            [factor for factor in self.factors if any(axis.name == name for axis in factor.axes)]
            for name in self.bonds
        ]
        return tuple(
            (
                tuple(self._carried(carriers[place])),
                tuple(k for k in range(place) if carriers[k] == carriers[place]),
                self.form.limits.get(name),
            )
            for place, name in enumerate(self.bonds)
        )

    def _carried(self, carriers: Sequence[Factor]) -> Iterator[Carrier]:
        shared = set[Axis].intersection(*(set(factor.axes) for factor in carriers))
        for factor in carriers:
            rest = [axis for axis in factor.axes if axis not in shared]
            fixed = math.prod(axis.size for axis in rest if axis.size is not None)
            yield fixed, tuple(self.bonds.index(axis.name) for axis in rest if axis.is_bond)


@lru_cache(maxsize=4096)
def _cut(network: Network, ranks: tuple[int, ...]) -> Cut:
    sizes = dict(zip(network.bonds, ranks, strict=True))
    modes = [{axis.mode for axis in factor.axes} for factor in network.factors]
    names = [{axis.name for axis in factor.axes if axis.is_bond} for factor in network.factors]
    sides = [
        [True] if "input" in m else [False] if m.intersection(OUTPUT_MODES) else [False, True]
        for m in modes
    ]
    best: tuple[int, int, Cut] | None = None
    for choice in product(*sides):
        left = tuple(k for k, is_left in enumerate(choice) if is_left)
        right = tuple(k for k, is_left in enumerate(choice) if not is_left)
        carried = set[str]().union(*(names[k] for k in left)) & set[str]().union(
            *(names[k] for k in right)
        )
        bonds = tuple(name for name in network.bonds if name in carried)
        rank = math.prod(sizes[name] for name in bonds)
        if best is None or (rank, len(left)) < best[:2]:
            best = (rank, len(left), Cut(left, right, bonds))
    assert best is not None
    return best[2]


@lru_cache(maxsize=4096)
def network(axes: str, entry: Callable[..., Form], options: Options, group: Group) -> Network:
    """The network of a decomposition, an entry of its table with its knobs set, over the axes of a
    construction in a shape group.
    """
    modes = tuple(Axis(name, group.size(name)) for name in axes.split())
    return Network(group, _formed(entry, modes, options))


def _formed(entry: Callable[..., Form], modes: tuple[Axis, ...], options: Options) -> Form:
    """`QuestionError` for an entry, perhaps a user's own, that fails or gives something else."""
    name = getattr(entry, "__name__", str(entry))
    try:
        form = cast(object, entry(modes, **dict(options)))
    except QuestionError:
        raise
    except Exception as error:
        over = " ".join(mode.name for mode in modes)
        raise QuestionError(
            f"decomposition {name} fails over the modes {over}: {type(error).__name__}: {error}."
        ) from error
    if not isinstance(form, Form):
        raise QuestionError(f"decomposition {name} gives {str(form)[:40]!r} instead of a Form.")
    return form
