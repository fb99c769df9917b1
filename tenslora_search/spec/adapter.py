"""AdapterSpec: a structure and its ranks; validated, counted exactly, comparable."""

import operator
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import lru_cache
from itertools import combinations
from typing import Annotated, Any, cast

from tenslora_search.spec.arguments import Asked, checked
from tenslora_search.spec.decompositions import DECOMPOSITIONS
from tenslora_search.spec.geometry import Geometry
from tenslora_search.spec.knobs import Named, Options
from tenslora_search.spec.methods import method_name
from tenslora_search.spec.network import Network
from tenslora_search.spec.scales import SCALES
from tenslora_search.spec.structure import AS_IS, Ranks, Structure
from tenslora_search.spec.table import QuestionError, Table

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

    `ranks` are the sizes of the bonds, in the order of `structure.bonds`: one tuple for all copies,
    or a tuple for each copy (groups in order; within a group the looped axes projection, layer, in
    row-major order). A shape group with shorter modes than the largest takes as much of each rank
    as it can use.

    >>> geometry = Geometry.attention(hidden=768, heads=12, layers=12)
    >>> AdapterSpec.of("qkv_depth", "tucker", (59, 59, 3, 12), geometry).n_params
    216093
    """

    structure: Structure
    ranks: Ranks | tuple[Ranks, ...]
    scale: str = "matched"
    alpha: float = 1.0
    head_layout: str = "true"

    @classmethod
    @checked()
    def of(
        cls,
        construction: str,
        decomposition: str,
        ranks: Annotated[int | Sequence[int] | Sequence[Sequence[int]], Asked(Any)],
        geometry: Geometry,
        *,
        scale: str = "matched",
        alpha: float = 1.0,
        head_layout: str = "true",
        options: Mapping[str, Any] | Options = (),
        after: str | Mapping[str, Any] | Named = AS_IS,
    ) -> "AdapterSpec":
        """The validated spec; a lone number is one rank, numpy's numbers are numbers.

        `options` are knobs of the decomposition, `after` is the map on the whole update.
        `QuestionError` on unknown names, a wrong number of ranks, ranks below 1 or above their cap.

        >>> geometry = Geometry.attention(hidden=768, heads=12, layers=12)
        >>> AdapterSpec.of("qkv_depth", "tucker", (59, 59, 3, 12), geometry).n_params
        216093
        """
        structure = Structure.of(
            construction, decomposition, geometry, options=options, after=after
        )
        return cls.over(structure, ranks, scale=scale, alpha=alpha, head_layout=head_layout)

    @classmethod
    def over(
        cls,
        structure: Structure,
        ranks: int | Sequence[int] | Sequence[Sequence[int]],
        *,
        scale: str = "matched",
        alpha: float = 1.0,
        head_layout: str = "true",
    ) -> "AdapterSpec":
        """As `of`, over a structure that is made already."""
        _ = SCALES[scale], HEAD_LAYOUTS[head_layout]
        if not 0 < alpha < float("inf"):
            raise QuestionError(f"alpha is a positive number; got {alpha}.")
        plain = _plain(ranks)
        as_tuple = cast(Ranks | tuple[Ranks, ...], plain if isinstance(plain, tuple) else (plain,))
        spec = cls(structure, as_tuple, scale, float(alpha), head_layout)
        per_copy = spec.ranks if spec.is_per_copy else (spec.ranks,)
        if spec.is_per_copy and len(per_copy) != structure.n_copies:
            raise QuestionError(
                f"{structure.construction} makes {structure.n_copies} copies on this model; got "
                f"ranks for {len(per_copy)}."
            )
        for one in dict.fromkeys(per_copy):
            _check_ranks(structure, one)  # type: ignore[arg-type]
        return spec

    @property
    def construction(self) -> str:
        return self.structure.construction

    @property
    def decomposition(self) -> str:
        return self.structure.decomposition

    @property
    def geometry(self) -> Geometry:
        return self.structure.geometry

    @property
    def options(self) -> Options:
        """All knobs of the decomposition and their values."""
        return self.structure.options

    @property
    def after(self) -> Named:
        """The map on the whole update."""
        return self.structure.after

    @property
    def is_low_rank(self) -> bool:
        """Whether each update is a pair; a map but `as_is` makes it dense, or the form is so."""
        return self.after == AS_IS and not self.networks[0].form.dense

    @property
    def is_per_copy(self) -> bool:
        return bool(self.ranks) and isinstance(self.ranks[0], tuple)

    @property
    def networks(self) -> tuple[Network, ...]:
        """One network a shape group."""
        return self.structure.networks

    @property
    def n_copies(self) -> int:
        return self.structure.n_copies

    @property
    def copy_ranks(self) -> tuple[tuple[Ranks, ...], ...]:
        """For each shape group the ranks of each of its copies, as far as the group can use
        them."""
        return _copy_ranks(self)

    @property
    def n_params(self) -> int:
        """Trainable parameters of the adapter, exactly; the task head is not among them."""
        if not self.is_per_copy:
            return self.structure.count(self.ranks)  # type: ignore[arg-type]
        return sum(
            net.count(ranks)
            for net, copies in zip(self.networks, self.copy_ranks, strict=True)
            for ranks in copies
        )

    @property
    def factor_counts(self) -> dict[str, int]:
        """Trained parameters by factor, all copies and shape groups together."""
        parts: dict[str, int] = {}
        for net, copies in zip(self.networks, self.copy_ranks, strict=True):
            for ranks in copies:
                sizes = net.sizes(ranks)
                for factor in net.form.learnt:
                    if factor.frozen:
                        continue
                    size = 1
                    for axis in factor.axes:
                        size *= sizes[axis.name]
                    parts[factor.name] = parts.get(factor.name, 0) + size
        return parts

    @property
    def method(self) -> str:
        """The name people know: LoRA, LoTR, TensLoRA qkv_depth, ..."""
        return method_name(self.canonical().structure)

    @property
    def slice_rank(self) -> int:
        """The largest rank of a pair at any site."""
        return max(
            net.slice_rank(ranks)
            for net, copies in zip(self.networks, self.copy_ranks, strict=True)
            for ranks in set(copies)
        )

    def scales(self, group: int) -> tuple[float, ...]:
        """What stands in front of the update of each copy of a shape group; 1 where the form bounds
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
        """The fields by name; knobs of the decomposition and the map where there are any."""
        fields: dict[str, Any] = {
            "construction": self.construction,
            "decomposition": self.decomposition,
            "ranks": self.ranks,
            "geometry": self.geometry.to_json(),
            "scale": self.scale,
            "alpha": self.alpha,
            "head_layout": self.head_layout,
        }
        if self.options:
            fields["options"] = dict(self.options)
        if self.after != AS_IS:
            fields["after"] = self.after.to_json()
        return fields

    @classmethod
    def from_json(cls, data: Mapping[str, Any]) -> "AdapterSpec":
        """The spec of `to_json`, validated again."""
        needed = {
            "construction", "decomposition", "ranks", "geometry", "scale", "alpha", "head_layout",
        }  # fmt: skip
        odd = sorted((set(data) ^ needed) - {"options", "after"})
        if odd:
            raise QuestionError(
                f"this is no adapter spec of ours: {', '.join(odd)} is missing or unknown."
            )
        fields: dict[str, Any] = {**data, "geometry": Geometry.from_json(data["geometry"])}
        return cls.of(**fields)


def _check_ranks(structure: Structure, ranks: Ranks) -> None:
    names = structure.bonds
    what = f"{structure.decomposition} over {structure.construction}"
    if len(ranks) != len(names):
        noun = "rank" if len(ranks) == 1 else "ranks"
        raise QuestionError(
            f"{what} has bonds ({', '.join(names)}); got {len(ranks)} {noun}: "
            f"({', '.join(map(str, ranks))})."
        )
    for name, rank in zip(names, ranks, strict=True):
        is_number = isinstance(rank, int) and not isinstance(rank, bool)  # pyright: ignore
        if not is_number or rank < 1:
            raise QuestionError(f"{name} of {what} is a whole number of 1 or more; got {rank!r}.")
    for name, rank, cap in zip(names, ranks, structure.caps(ranks), strict=True):
        if rank > cap:
            raise QuestionError(
                f"{name} of {what} is {rank}, above its cap {cap} on this model: more would be "
                "dead weight."
            )


def _plain(ranks: Any) -> Any:
    """Tuples and ints for what holds whole numbers; the rest stays for `_check_ranks` to name."""
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
        ranks = cast(Ranks, spec.ranks)
        return tuple((net.clip(ranks),) * net.copies for net in spec.networks)
    rest = iter(cast(tuple[Ranks, ...], spec.ranks))
    return tuple(tuple(net.clip(next(rest)) for _ in range(net.copies)) for net in spec.networks)


@lru_cache(maxsize=4096)
def _canonical(spec: AdapterSpec) -> AdapterSpec:
    structure = spec.structure
    if not structure.networks[0].form.scaled:
        spec = replace(spec, scale="matched", alpha=1.0)  # they are left out of such an update
    if spec.is_per_copy:
        if len(set(spec.ranks)) > 1:
            return spec
        return _canonical(replace(spec, ranks=spec.ranks[0]))
    ranks = structure.clip(spec.ranks)  # type: ignore[arg-type]
    spec = replace(spec, ranks=ranks)
    if not structure.networks[0].form.is_plain:
        return spec
    wanted = _signatures(structure, ranks)
    sizes = _joined_bonds(structure.networks[0], ranks)
    for name in DECOMPOSITIONS:
        if name == structure.decomposition:
            break
        options = Named.of(DECOMPOSITIONS, name).options
        other = replace(structure, decomposition=name, options=options)
        if not other.networks[0].form.is_plain:
            continue
        for places in combinations(range(len(other.bonds)), len(sizes)):
            candidate = [1] * len(other.bonds)
            for place, size in zip(places, sizes.values(), strict=True):
                candidate[place] = size
            if _signatures(other, candidate) == wanted:
                return replace(spec, structure=other, ranks=tuple(candidate))
    return spec


def _signatures(structure: Structure, ranks: Sequence[int]) -> list[object]:
    result: list[object] = []
    for net in structure.networks:
        factors = {(_modes(net, k), factor.start) for k, factor in enumerate(net.factors)}
        result.append((factors, _joined_bonds(net, net.clip(ranks))))
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
