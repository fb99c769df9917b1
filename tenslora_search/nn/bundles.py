"""Bundles: trials of one layout and geometry, which lie side by side in a pack and share their
kernels; the updates that they make at each site.
"""

import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import groupby

import torch
from torch import Tensor

from tenslora_search.nn.stacking import side_by_side
from tenslora_search.nn.tensor import FactoredTensor
from tenslora_search.spec.adapter import AdapterSpec
from tenslora_search.spec.geometry import Geometry, Group
from tenslora_search.spec.knobs import Options, Value
from tenslora_search.spec.maps import MAPS

SMALL_RANK, RANK_STEP = 16, 4
"""Ranks up to 16, up to 64, up to 256, ... are padded to one: below 16 a product on a GPU takes no
longer.
"""

Key = tuple[str, int]
"""A projection and a layer."""


@dataclass(frozen=True, slots=True)
class Bundle:
    """Trials `first` to `last` (not included) of one layout and geometry."""

    first: int
    last: int
    geometry: Geometry
    tensors: range
    """their places among the adapter's tensors, one a shape group"""
    rank_class: int
    after: str
    """the map on the whole update, by name"""
    is_low_rank: bool
    words: Options = ()
    """its knobs that are no numbers"""

    @property
    def trials(self) -> range:
        return range(self.first, self.last)


def layout(spec: AdapterSpec) -> tuple[int, str, str, str, str, str, str, str]:
    """Trials that are alike in this, side by side in a pack, share their kernels; a pack in its
    order is the fastest.

    First a class of slice ranks: at a site, a class is padded to its largest rank.
    """
    return (
        _rank_class(spec),
        str(spec.geometry),
        spec.after.name,
        str(words_of(spec)),
        spec.construction,
        spec.decomposition,
        str(spec.options),
        spec.head_layout,
    )


def bundles_of(specs: Sequence[AdapterSpec]) -> list[Bundle]:
    """The bundles of a pack, in its order."""
    bundles: list[Bundle] = []
    n_tensors = 0
    for _, run in groupby(range(len(specs)), key=lambda trial: layout(specs[trial])):
        trials = list(run)
        spec = specs[trials[0]]
        tensors = range(n_tensors, n_tensors + len(spec.geometry.groups))
        n_tensors = tensors.stop
        bundles.append(
            Bundle(
                trials[0],
                trials[-1] + 1,
                spec.geometry,
                tensors,
                _rank_class(spec),
                spec.after.name,
                spec.is_low_rank,
                words_of(spec),
            )
        )
    return bundles


def words_of(spec: AdapterSpec) -> Options:
    """The knobs of a spec's map that are no numbers: trials side by side have them alike."""
    return tuple((name, value) for name, value in spec.after.options if not _is_number(value))


def _is_number(value: Value) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool)


def classes_of(bundles: Sequence[Bundle]) -> list[list[Bundle]]:
    """Bundles of low rank that follow each other with one geometry and class of ranks: at a site
    they are one update. A dense bundle stands alone.
    """
    classes: list[list[Bundle]] = []
    for bundle in bundles:
        last = classes[-1][-1] if classes else None
        if (
            last is not None
            and last.is_low_rank
            and bundle.is_low_rank
            and (last.rank_class, last.geometry) == (bundle.rank_class, bundle.geometry)
        ):
            classes[-1].append(bundle)
        else:
            classes.append([bundle])
    return classes


Contracted = Mapping[int, tuple[Tensor, ...]]
"""By the place of their tensor, as `FactoredTensor.matrices` gives them."""


def pairs(
    bundles: Sequence[Bundle], contracted: Contracted, types: Sequence[torch.dtype]
) -> Iterator[tuple[Key, tuple[Tensor, Tensor]]]:
    """For each projection and layer of a class of bundles A (trial, input, rank) and B (trial,
    rank, output), the scale in them; a type for each shape group.

    Contracted in float32, then cast; shorter ranks are padded with zeros.
    """
    for index, group in enumerate(bundles[0].geometry.groups):
        left, right = _stacked(bundles, contracted, index, types[index])
        for key, (a, b) in _by_site(group, left, right):
            back = key[0] in group.transposed
            yield key, (b.transpose(1, 2), a.transpose(1, 2)) if back else (a, b)


def dense(
    bundle: Bundle,
    contracted: Contracted,
    tensors: Sequence[FactoredTensor],
    knobs: Mapping[str, Tensor],
) -> Iterator[tuple[Key, Tensor]]:
    """For each projection and layer of a dense bundle its updates (trial, input, output): scale x
    f(update), f entry by entry (LoRAN), of a pair or of a form that is dense by itself, float32.
    """
    for index, group in enumerate(bundle.geometry.groups):
        scale = tensors[bundle.tensors[index]].site_scale.movedim(0, 2)
        if len(contracted[bundle.tensors[index]]) == 2:
            left, right = _stacked([bundle], contracted, index, torch.float32)
            plain = left @ (right / scale)
        else:
            plain = _beside(group, group.input, group.output, contracted[bundle.tensors[index]])
            plain = plain / scale
        whole = MAPS[bundle.after](plain, **knobs, **dict(bundle.words)) * scale
        for projection, layers in zip(group.projections, whole.unbind(), strict=True):
            for layer, update in enumerate(layers.unbind()):
                back = projection in group.transposed
                yield (projection, layer), update.transpose(1, 2) if back else update


def knobs_of(specs: Sequence[AdapterSpec]) -> dict[str, Tensor]:
    """The numbers of a bundle's maps, (trial, 1, 1) each: trials of one map differ in them."""
    return {
        name: torch.tensor([float(dict(spec.after.options)[name]) for spec in specs]).view(-1, 1, 1)
        for name, value in specs[0].after.options
        if _is_number(value)
    }


def _stacked(
    bundles: Sequence[Bundle], contracted: Contracted, index: int, dtype: torch.dtype
) -> tuple[Tensor, Tensor]:
    """A shape group's pairs of all trials of the bundles: (projection, layer, trial, ...)."""
    group = bundles[0].geometry.groups[index]
    found = [contracted[bundle.tensors[index]] for bundle in bundles]
    lefts, rights = [one[0] for one in found], [one[1] for one in found]
    multiple = 8 if dtype.itemsize == 2 else 1  # matrix units read 16 bytes at once
    rank = -(-max(left.shape[-1] for left in lefts) // multiple) * multiple
    left = _beside(group, group.input, rank, lefts, dtype)
    return left, _beside(group, rank, group.output, rights, dtype)


def _beside(
    group: Group,
    rows: int,
    columns: int,
    sides: Sequence[Tensor],
    dtype: torch.dtype = torch.float32,
) -> Tensor:
    """(projection, layer, trial, rows, columns), the trials of all sides in a row."""
    n_trials = sum(len(side) for side in sides)
    shape = (len(group.projections), group.layers, n_trials, rows, columns)
    return side_by_side(shape, dtype, sides)


def _by_site(
    group: Group, left: Tensor, right: Tensor
) -> Iterator[tuple[Key, tuple[Tensor, Tensor]]]:
    for projection, of_left, of_right in zip(
        group.projections, left.unbind(), right.unbind(), strict=True
    ):
        for layer, pair in enumerate(zip(of_left.unbind(), of_right.unbind(), strict=True)):
            yield (projection, layer), pair


def _rank_class(spec: AdapterSpec) -> int:
    return max(0, math.ceil(math.log(spec.slice_rank / SMALL_RANK, RANK_STEP)))
