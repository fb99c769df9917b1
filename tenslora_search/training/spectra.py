"""The singular values of the first gradient's unfoldings: what every structure can hold of it."""

import math
from collections.abc import Mapping, Sequence

import torch
from torch import Tensor

from tenslora_search.spec.caught import RANKS, unfoldings
from tenslora_search.spec.constructions import CONSTRUCTIONS
from tenslora_search.spec.geometry import STACKED, Geometry, Group


def spectra(geometry: Geometry, gradients: Mapping[str, Sequence[Tensor]]) -> list[float]:
    """For each of `unfoldings(geometry)`, of all copies together, what the leading singular values
    hold up to each of RANKS, as shares of the whole gradient's squared norm.

    `gradients`: of each projection's maps, layer by layer, (input, output) as the model has them.
    """
    stacked = [_stacked(group, gradients) for group in geometry.groups]
    total = sum(float(one.square().sum()) for one in stacked)
    found: list[float] = []
    for place, name, side in unfoldings(geometry):
        group, axes = geometry.groups[place], CONSTRUCTIONS[name].split()
        held = _held(stacked[place], group, axes, side)
        found += [float(held[min(rank, len(held)) - 1]) / max(total, 1e-300) for rank in RANKS]
    return found


def _stacked(group: Group, gradients: Mapping[str, Sequence[Tensor]]) -> Tensor:
    """(projection, layer, input, head, head_dim), maps that are read backwards turned round."""
    rows = [
        torch.stack([one.T if name in group.transposed else one for one in gradients[name]])
        for name in group.projections
    ]
    return torch.stack(rows).unflatten(-1, (group.heads, group.head_dim))


def _held(whole: Tensor, group: Group, axes: Sequence[str], side: frozenset[str]) -> Tensor:
    """Sums of the leading squared singular values of one unfolding, over all copies: (rank,)."""
    if "output" in axes:
        whole = whole.flatten(-2)
    ends = ("input", "output") if "output" in axes else ("input", "head", "head_dim")
    names = (*STACKED, *ends)
    looped = [name for name in STACKED if name not in axes]
    rows = [name for name in names if name in side]
    columns = [name for name in names if name in axes and name not in side]
    order = [names.index(name) for name in (*looped, *rows, *columns)]
    n_copies, n_rows = (math.prod(group.size(one) for one in part) for part in (looped, rows))
    flat = whole.permute(order).reshape(n_copies, n_rows, -1)
    flat = flat if flat.shape[1] <= flat.shape[2] else flat.transpose(1, 2)
    squares = torch.linalg.eigvalsh((flat @ flat.transpose(1, 2)).double())
    return squares.clamp_min(0).flip(1).cumsum(1).sum(0).cpu()
