"""AdapterSpec: a construction, a decomposition and ranks over a geometry; validated, counted
exactly, comparable.
"""

import operator
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import lru_cache
from itertools import combinations
from typing import Any, cast

from tenslora_search.spec.constructions import CONSTRUCTIONS
from tenslora_search.spec.decompositions import DECOMPOSITIONS
from tenslora_search.spec.geometry import Geometry
from tenslora_search.spec.methods import method_name
from tenslora_search.spec.network import UNBOUNDED, Network, network
from tenslora_search.spec.scales import SCALES
from tenslora_search.spec.table import QuestionError, Table

Ranks = tuple[int, ...]

HEAD_LAYOUTS: Table[str] = Table(
    "head layout",
    {
        "true": "head h, channel e at column h * head_dim + e",
        "interleaved": "column e * heads + h, as the TensLoRA release has it",
    },
)


@dataclass(frozen=True, slots=True)
class AdapterSpec:
    """What is trained on a model: make it with `AdapterSpec.of`, which refuses what cannot be
    built.

    `ranks` are the sizes of the bonds, in the order of `bonds(...)`: one tuple for all copies, or a
    tuple for each copy (groups in order; within a group the looped axes projection, layer, in
    row-major order). A shape group with shorter modes than the largest takes as much of each rank
    as it can use.
    """

    construction: str
    decomposition: str
    ranks: Ranks | tuple[Ranks, ...]
    geometry: Geometry
    scale: str = "matched"
    alpha: float = 1.0
    head_layout: str = "true"

    @classmethod
    def of(
        cls,
        construction: str,
        decomposition: str,
        ranks: int | Sequence[int] | Sequence[Sequence[int]],
        geometry: Geometry,
        *,
        scale: str = "matched",
        alpha: float = 1.0,
        head_layout: str = "true",
    ) -> "AdapterSpec":
        """The validated spec; a lone number is one rank, numpy's numbers are numbers.

        `QuestionError` on unknown names, a wrong number of ranks, ranks below 1 or above their cap.
        """
        for table, name in (
            (CONSTRUCTIONS, construction),
            (DECOMPOSITIONS, decomposition),
            (SCALES, scale),
            (HEAD_LAYOUTS, head_layout),
        ):
            table[name]
        if not 0 < alpha < float("inf"):
            raise QuestionError(f"alpha is a positive number; got {alpha}.")
        plain = _plain(ranks)
        as_tuple = cast(Ranks | tuple[Ranks, ...], plain if isinstance(plain, tuple) else (plain,))
        spec = cls(
            construction, decomposition, as_tuple, geometry, scale, float(alpha), head_layout
        )
        per_copy = spec.ranks if spec.is_per_copy else (spec.ranks,)
        if spec.is_per_copy and len(per_copy) != spec.n_copies:
            raise QuestionError(
                f"{construction} makes {spec.n_copies} copies on this model; got ranks for "
                f"{len(per_copy)}."
            )
        for one in dict.fromkeys(per_copy):
            _check_ranks(construction, decomposition, one, geometry)  # type: ignore[arg-type]
        return spec

    @property
    def is_per_copy(self) -> bool:
        return bool(self.ranks) and isinstance(self.ranks[0], tuple)

    @property
    def networks(self) -> tuple[Network, ...]:
        """One network a shape group."""
        return tuple(
            network(self.construction, self.decomposition, group) for group in self.geometry.groups
        )

    @property
    def n_copies(self) -> int:
        return sum(net.copies for net in self.networks)

    @property
    def copy_ranks(self) -> tuple[tuple[Ranks, ...], ...]:
        """For each shape group the ranks of each of its copies, as far as the group can use
        them."""
        return _copy_ranks(self)

    @property
    def n_params(self) -> int:
        """Trainable parameters of the adapter, exactly; the task head is not among them."""
        if not self.is_per_copy:
            return count(self.construction, self.decomposition, self.ranks, self.geometry)  # type: ignore[arg-type]
        return sum(
            net.count(ranks)
            for net, copies in zip(self.networks, self.copy_ranks, strict=True)
            for ranks in copies
        )

    @property
    def factor_counts(self) -> dict[str, int]:
        """Parameters by factor, all copies and shape groups together."""
        parts: dict[str, int] = {}
        for net, copies in zip(self.networks, self.copy_ranks, strict=True):
            for ranks in copies:
                sizes = net.sizes(ranks)
                for factor in net.form.counted:
                    size = 1
                    for axis in factor.axes:
                        size *= sizes[axis.name]
                    parts[factor.name] = parts.get(factor.name, 0) + size
        return parts

    @property
    def method(self) -> str:
        """The name people know: LoRA, LoTR, TensLoRA qkv_depth, ..."""
        canonical = self.canonical()
        return method_name(canonical.construction, canonical.decomposition)

    @property
    def slice_rank(self) -> int:
        """The largest rank of a pair at any site."""
        return max(
            net.slice_rank(ranks)
            for net, copies in zip(self.networks, self.copy_ranks, strict=True)
            for ranks in set(copies)
        )

    def scales(self, group: int) -> tuple[float, ...]:
        """What stands in front of the update of each copy of a shape group: 1 where the form bounds
        itself.
        """
        net, rule = self.networks[group], SCALES[self.scale]
        if not net.form.scaled:
            return (1.0,) * net.copies
        by_ranks = {
            ranks: rule(self.alpha, net.slice_rank(ranks), net.first_step(ranks), net.group.output)
            for ranks in set(self.copy_ranks[group])
        }
        return tuple(by_ranks[ranks] for ranks in self.copy_ranks[group])

    def canonical(self) -> "AdapterSpec":
        """The simplest spec of the same factors; two specs are the same adapter exactly when these
        are equal.

        Bonds of size 1 join nothing and bonds between the same factors are one bond: a tensor train
        over two modes is LoRA, a ring closed by a bond of 1 is a train, one block is Tucker. The
        first entry of DECOMPOSITIONS wins.
        """
        return _canonical(self)

    def to_json(self) -> dict[str, Any]:
        return {
            "construction": self.construction,
            "decomposition": self.decomposition,
            "ranks": self.ranks,
            "geometry": self.geometry.to_json(),
            "scale": self.scale,
            "alpha": self.alpha,
            "head_layout": self.head_layout,
        }

    @classmethod
    def from_json(cls, data: Mapping[str, Any]) -> "AdapterSpec":
        """The spec of `to_json`, validated again."""
        known = {
            "construction",
            "decomposition",
            "ranks",
            "geometry",
            "scale",
            "alpha",
            "head_layout",
        }
        if set(data) != known:
            odd = sorted(set(data) ^ known)
            raise QuestionError(
                f"this is no adapter spec of ours: {', '.join(odd)} is missing or unknown."
            )
        fields = dict(data)
        fields["geometry"] = Geometry.from_json(data["geometry"])
        return cls.of(**fields)


def bonds(construction: str, decomposition: str, geometry: Geometry) -> tuple[str, ...]:
    """The names of the ranks, in the order they are written."""
    return network(construction, decomposition, geometry.groups[0]).bonds


def count(construction: str, decomposition: str, ranks: Sequence[int], geometry: Geometry) -> int:
    """Trainable parameters for valid ranks, the same for all copies; checks nothing."""
    networks = [network(construction, decomposition, group) for group in geometry.groups]
    if len(networks) == 1:
        return networks[0].copies * networks[0].count(ranks)
    return sum(net.copies * net.count(net.clip(ranks)) for net in networks)


def caps(construction: str, decomposition: str, ranks: Sequence[int], geometry: Geometry) -> Ranks:
    """The largest useful value of each rank while the others stay as given, in the shape group that
    can use most.
    """
    return tuple(
        max(column)
        for column in zip(
            *(network(construction, decomposition, g).caps(ranks) for g in geometry.groups),
            strict=True,
        )
    )


def clip(construction: str, decomposition: str, ranks: Sequence[int], geometry: Geometry) -> Ranks:
    """The ranks, lowered to what the shape group that can use most of each can use."""
    return tuple(
        max(column)
        for column in zip(
            *(network(construction, decomposition, g).clip(ranks) for g in geometry.groups),
            strict=True,
        )
    )


def limits(construction: str, decomposition: str, geometry: Geometry) -> Ranks:
    """The largest each rank can be on this geometry, whatever the others are."""
    n_bonds = len(bonds(construction, decomposition, geometry))
    return caps(construction, decomposition, (UNBOUNDED,) * n_bonds, geometry)


def _check_ranks(construction: str, decomposition: str, ranks: Ranks, geometry: Geometry) -> None:
    names = bonds(construction, decomposition, geometry)
    what = f"{decomposition} over {construction}"
    if len(ranks) != len(names):
        noun = "rank" if len(ranks) == 1 else "ranks"
        raise QuestionError(
            f"{what} has bonds ({', '.join(names)}); got {len(ranks)} {noun}: "
            f"({', '.join(map(str, ranks))})."
        )
    for name, rank in zip(names, ranks, strict=True):
        if isinstance(rank, bool) or not isinstance(rank, int) or rank < 1:  # pyright: ignore[reportUnnecessaryIsInstance]
            raise QuestionError(f"{name} of {what} is a whole number of 1 or more; got {rank!r}.")
    for name, rank, cap in zip(
        names, ranks, caps(construction, decomposition, ranks, geometry), strict=True
    ):
        if rank > cap:
            raise QuestionError(
                f"{name} of {what} is {rank}, above its cap {cap} on this model: more would be "
                "dead weight."
            )


def _plain(ranks: Any) -> Any:
    """Tuples and ints for sequences and whole numbers of any kind; what is neither stays, for
    `_check_ranks` to name it.
    """
    if isinstance(ranks, bool | str):
        return ranks
    try:
        return operator.index(ranks)
    except TypeError:
        return (
            tuple(_plain(one) for one in cast(Iterable[Any], ranks))
            if isinstance(ranks, Iterable)
            else ranks
        )


@lru_cache(maxsize=4096)
def _copy_ranks(spec: AdapterSpec) -> tuple[tuple[Ranks, ...], ...]:
    if not spec.is_per_copy:
        return tuple((net.clip(spec.ranks),) * net.copies for net in spec.networks)  # type: ignore[arg-type]
    rest = iter(spec.ranks)
    return tuple(tuple(net.clip(next(rest)) for _ in range(net.copies)) for net in spec.networks)  # type: ignore[arg-type]


@lru_cache(maxsize=4096)
def _canonical(spec: AdapterSpec) -> AdapterSpec:
    if spec.is_per_copy:
        if len(set(spec.ranks)) > 1:
            return spec
        return _canonical(replace(spec, ranks=spec.ranks[0]))
    ranks: Ranks = clip(spec.construction, spec.decomposition, spec.ranks, spec.geometry)  # type: ignore[arg-type]
    wanted = _signatures(spec.construction, spec.decomposition, ranks, spec.geometry)
    sizes = _joined_bonds(
        network(spec.construction, spec.decomposition, spec.geometry.groups[0]), ranks
    )
    for name in DECOMPOSITIONS:
        if name == spec.decomposition:
            break
        n_bonds = len(bonds(spec.construction, name, spec.geometry))
        for places in combinations(range(n_bonds), len(sizes)) if len(sizes) <= n_bonds else ():
            candidate = [1] * n_bonds
            for place, size in zip(places, sizes.values(), strict=True):
                candidate[place] = size
            if _signatures(spec.construction, name, tuple(candidate), spec.geometry) == wanted:
                return replace(spec, decomposition=name, ranks=tuple(candidate))
    return replace(spec, ranks=ranks)


def _signatures(
    construction: str, decomposition: str, ranks: Ranks, geometry: Geometry
) -> list[object]:
    result: list[object] = []
    for group in geometry.groups:
        net = network(construction, decomposition, group)
        clipped = net.clip(ranks)
        factors = {(_modes(net, k), factor.start) for k, factor in enumerate(net.factors)}
        result.append((factors, _joined_bonds(net, clipped)))
    return result


def _modes(net: Network, factor: int) -> frozenset[tuple[str, int | None]]:
    return frozenset(
        (axis.name, axis.size) for axis in net.factors[factor].axes if not axis.is_bond
    )


def _joined_bonds(net: Network, ranks: Ranks) -> dict[frozenset[object], int]:
    """The bonds larger than 1 by the factors they join; those that join the same factors multiply
    into one.
    """
    joined: dict[frozenset[object], int] = {}
    for name, rank in zip(net.bonds, ranks, strict=True):
        carriers = frozenset(
            _modes(net, k)
            for k, factor in enumerate(net.factors)
            if any(axis.name == name for axis in factor.axes)
        )
        if rank > 1:
            joined[carriers] = joined.get(carriers, 1) * rank
    return joined
