"""What the entries of a factor begin with, before they are scaled to its fan."""

import math

import torch
from torch import Tensor

from tenslora_search.nn.base_weights import BaseWeights
from tenslora_search.spec.form import FROM_WEIGHTS, Factor

STARTS = {
    "zero": lambda shape, generator: torch.zeros(shape),
    "uniform": lambda shape, generator: torch.rand(shape, generator=generator) * 2 - 1,
    "normal": lambda shape, generator: torch.randn(shape, generator=generator),
    "signs": lambda shape, generator: (
        torch.randint(0, 2, shape, generator=generator).float() * 2 - 1
    ),
    "ones": lambda shape, generator: torch.ones(shape),
}
"""Draws of the distributions whose entries know nothing of each other."""


def drawn(
    factor: Factor, shape: tuple[int, ...], n_looped: int, generator: torch.Generator
) -> Tensor:
    """Entries of unit variance (*looped, *axes), a third of it where uniform."""
    if factor.start in STARTS:
        return STARTS[factor.start](shape, generator)
    # (modes, bond, blocks...): the columns of each block are orthonormal, along all its modes.
    n_modes = sum(not axis.is_bond for axis in factor.axes)
    modes, rank = shape[n_looped : n_looped + n_modes], shape[n_looped + n_modes]
    blocks = shape[n_looped + n_modes + 1 :]
    rows = (*shape[:n_looped], *blocks, math.prod(modes), rank)
    columns = torch.linalg.qr(torch.randn(rows, generator=generator))[0] * math.sqrt(rows[-2])
    return columns.movedim((-2, -1), (n_looped, n_looped + 1)).unflatten(n_looped, modes)


def of_weights(
    factor: Factor, entries: Tensor, looped: tuple[str, ...], head_layout: str, base: BaseWeights
) -> Tensor:
    """The leading singular vectors of the frozen weights along the factor's modes, one a column, of
    as much variance as `drawn`. `entries` (*looped, *axes) are those that a copy has.
    """
    *modes, rank = entries.shape[len(looped) :]
    names = tuple(axis.name for axis in factor.axes if not axis.is_bond)
    vectors, values = base.unfolded(names, looped, head_layout, rank)
    columns = vectors[..., :rank] * math.sqrt(vectors.shape[-2])
    if factor.start == "principal":
        own = entries.flatten(len(looped), -2)[..., 0, :]
        size = values[..., :rank] * own
        mean = size.square().sum(-1, keepdim=True) / own.sum(-1, keepdim=True)
        columns = columns * (size / mean.sqrt().clamp_min(1e-12)).unsqueeze(-2)
    return columns.unflatten(-2, modes)


def is_of_weights(factor: Factor) -> bool:
    return factor.start in FROM_WEIGHTS
