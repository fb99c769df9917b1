"""Structure: an adapter but for its ranks; its bonds, its count and the limits of its ranks."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import Any

from tenslora_search.spec.constructions import CONSTRUCTIONS
from tenslora_search.spec.decompositions import DECOMPOSITIONS
from tenslora_search.spec.form import Form
from tenslora_search.spec.geometry import Geometry
from tenslora_search.spec.knobs import Named, Options
from tenslora_search.spec.maps import MAPS
from tenslora_search.spec.network import UNBOUNDED, Network, network

Ranks = tuple[int, ...]
AS_IS = Named("as_is")
"""The map on the whole update that leaves it a pair."""


@dataclass(frozen=True, slots=True)
class Structure:
    """A construction and a decomposition over a geometry, and a map on the whole update.

    Make it with `Structure.of`, which refuses unknown names. `options` are all knobs of the
    decomposition, sorted by name.

    >>> str(Structure.of("depth", "tucker2", Geometry.attention(hidden=768, heads=12, layers=12)))
    'depth x tucker2'
    """

    construction: str
    decomposition: str
    geometry: Geometry
    options: Options = ()
    after: Named = AS_IS

    @classmethod
    def of(
        cls,
        construction: str,
        decomposition: str,
        geometry: Geometry,
        *,
        options: Mapping[str, Any] | Options = (),
        after: str | Mapping[str, Any] | Named = AS_IS,
    ) -> "Structure":
        """The structure, checked; knobs that `options` or `after` leave out take their defaults."""
        _ = CONSTRUCTIONS[construction]
        entry = Named.of(DECOMPOSITIONS, {"name": decomposition, **dict(options)})
        return cls(construction, decomposition, geometry, entry.options, Named.of(MAPS, after))

    def __str__(self) -> str:
        """For people; knobs and map are said where they are not the defaults."""
        usual = Named.of(DECOMPOSITIONS, self.decomposition).options
        unusual = tuple(pair for pair in self.options if pair not in usual)
        end = "" if self.after == AS_IS else f", {self.after}"
        return f"{self.construction} x {Named(self.decomposition, unusual)}{end}"

    @property
    def networks(self) -> tuple[Network, ...]:
        """One network a shape group."""
        axes, entry = CONSTRUCTIONS[self.construction], DECOMPOSITIONS[self.decomposition]
        return _networks(axes, entry, self.options, self.geometry)

    @property
    def n_copies(self) -> int:
        """Tensors of all shape groups together."""
        return sum(net.copies for net in self.networks)

    @property
    def bonds(self) -> tuple[str, ...]:
        """The names of the ranks, in the order they are written."""
        return self.networks[0].bonds

    @property
    def smallest(self) -> int:
        """Trainable parameters at ranks of 1."""
        return self.count((1,) * len(self.bonds))

    @property
    def limits(self) -> Ranks:
        """The largest each rank can be on this geometry, whatever the others are."""
        return self.caps((UNBOUNDED,) * len(self.bonds))

    def count(self, ranks: Sequence[int]) -> int:
        """Trainable parameters for valid ranks, the same for all copies; checks nothing."""
        networks = self.networks
        if len(networks) == 1:
            return networks[0].copies * networks[0].count(ranks)
        return sum(net.copies * net.count(net.clip(ranks)) for net in networks)

    def caps(self, ranks: Sequence[int]) -> Ranks:
        """The largest useful value of each rank while the others stay as given, in the shape group
        that can use most.
        """
        return _largest([net.caps(ranks) for net in self.networks])

    def clip(self, ranks: Sequence[int]) -> Ranks:
        """The ranks, lowered to what the shape group that can use most of each can use."""
        return _largest([net.clip(ranks) for net in self.networks])


@lru_cache(maxsize=4096)
def _networks(
    axes: str, entry: Callable[..., Form], options: Options, geometry: Geometry
) -> tuple[Network, ...]:
    return tuple(network(axes, entry, options, group) for group in geometry.groups)


def _largest(rows: Sequence[Sequence[int]]) -> Ranks:
    return tuple(max(column) for column in zip(*rows, strict=True))
