"""Site: one frozen linear map plus K low-rank pairs, y = x W + (x A) B; K trials' batches lie side by side in x."""

from typing import Any, NamedTuple

import torch
from torch import Tensor, nn

from tenslora_search.spec.table import QuestionError


class PackError(QuestionError):
    """This model sends something without a batch through a site, which K trials cannot share; one at a time works."""


class Place(NamedTuple):
    """Where a projection of one layer lives: the module's name and which columns of its outputs are its own."""

    module: str
    block: int
    of: int


class Site(nn.Module):
    """A frozen map with the pairs of the projections it holds: one, or several in a fused map, each over its own columns.

    `pairs` are set anew before each forward pass: A (trial, input, rank) and B (trial, rank, output) for each projection.
    """

    def __init__(self, frozen: nn.Module, n_blocks: int) -> None:
        super().__init__()
        self.frozen = frozen
        self.pairs: list[tuple[Tensor, Tensor] | None] = [None] * n_blocks

    def __getstate__(self) -> dict[str, Any]:
        return {**self.__dict__, "pairs": [None] * len(self.pairs)}  # a copy makes its own

    @property
    def weight(self) -> Tensor:
        """The frozen weight; some models look at its type."""
        return self.frozen.weight  # type: ignore[return-value]

    @property
    def bias(self) -> Tensor | None:
        return self.frozen.bias  # type: ignore[return-value]

    def forward(self, x: Tensor) -> Tensor:  # x: (trial * batch, ..., input)
        y = self.frozen(x)
        if not any(self.pairs):
            return y
        trials = next(pair[0].shape[0] for pair in self.pairs if pair)
        if x.shape[0] % trials:  # DeBERTa sends positions, which have no batch, through its query and key maps
            raise PackError(f"{trials} trials cannot share a batch of {x.shape[0]} here; attach one at a time (--pack 1).")
        rows, columns = x.reshape(trials, -1, x.shape[-1]), y.view(trials, -1, y.shape[-1])
        updated = [_update(part, rows, pair) for part, pair in zip(columns.chunk(len(self.pairs), -1), self.pairs, strict=True)]
        return (updated[0] if len(updated) == 1 else torch.cat(updated, -1)).view(y.shape)


def _update(y: Tensor, x: Tensor, pair: tuple[Tensor, Tensor] | None) -> Tensor:
    return y if pair is None else torch.baddbmm(y, torch.bmm(x, pair[0]), pair[1])
