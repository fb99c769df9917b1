"""Site: one frozen linear map plus K low-rank pairs, y = x W + (x A) B; K trials' batches lie side by side in x."""

from collections.abc import Sequence
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn
from torch.autograd.function import once_differentiable

from tenslora_search.spec.table import QuestionError


class PackError(QuestionError):
    """This model sends something without a batch through a site, which K trials cannot share; one at a time works."""


class Place(NamedTuple):
    """Where a projection of one layer lives: the module's name and which columns of its outputs are its own."""

    module: str
    block: int
    of: int


class Pair(NamedTuple):
    """What trials `first` to `last` (not included), which lie side by side, add to a block of columns: x A B."""

    first: int
    last: int
    block: int
    a: Tensor  # (trial, input, rank)
    b: Tensor  # (trial, rank, output)


class Site(nn.Module):
    """A frozen map with the pairs of the projections it holds: one, or several in a fused map, each over its own columns.

    `pairs` are set anew before each forward pass.
    """

    def __init__(self, frozen: nn.Module, n_blocks: int, n_trials: int) -> None:
        super().__init__()
        self.frozen, self.n_blocks, self.n_trials = frozen, n_blocks, n_trials
        self.pairs: list[Pair] = []

    def __getstate__(self) -> dict[str, Any]:
        return {**self.__dict__, "pairs": []}  # a copy makes its own

    @property
    def weight(self) -> Tensor:
        """The frozen weight; some models look at its type."""
        return self.frozen.weight  # type: ignore[return-value]

    @property
    def bias(self) -> Tensor | None:
        return self.frozen.bias  # type: ignore[return-value]

    def forward(self, x: Tensor) -> Tensor:  # x: (trial * batch, ..., input)
        y = self.frozen(x)
        if not self.pairs:
            return y
        if x.shape[0] % self.n_trials:  # DeBERTa sends positions, which have no batch, through its query and key maps
            raise PackError(
                f"{self.n_trials} trials cannot share a batch of {x.shape[0]} here; attach one at a time (--pack 1)."
            )
        spans = [(pair.first, pair.last, pair.block) for pair in self.pairs]
        sides = [side for pair in self.pairs for side in (pair.a, pair.b)]
        return _Update.apply(y, x, self.n_trials, self.n_blocks, spans, *sides)  # type: ignore[return-value]


class _Update(torch.autograd.Function):
    """y + (x A) B for each pair, in place: autograd's own way copies y, and adds up the gradients of x, once a pair."""

    @staticmethod
    def forward(
        ctx: Any,
        y: Tensor,  # (trial * batch, ..., output)
        x: Tensor,  # (trial * batch, ..., input)
        n_trials: int,
        n_blocks: int,
        spans: Sequence[tuple[int, int, int]],
        *sides: Tensor,
    ) -> Tensor:
        rows = x.reshape(n_trials, -1, x.shape[-1]).to(sides[0].dtype)
        blocks = y.view(n_trials, -1, y.shape[-1]).chunk(n_blocks, -1)
        inner = []
        for (first, last, block), a, b in zip(spans, sides[::2], sides[1::2], strict=True):
            inner.append(torch.bmm(rows[first:last], a))
            blocks[block][first:last].baddbmm_(inner[-1], b)
        ctx.spans, ctx.n_blocks, ctx.shape = spans, n_blocks, x.shape
        ctx.save_for_backward(rows, *sides, *inner)
        ctx.mark_dirty(y)
        return y

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor | None, ...]:
        rows, *saved = ctx.saved_tensors
        spans, n = ctx.spans, len(ctx.spans)
        sides, inner = saved[: 2 * n], saved[2 * n :]
        blocks = gradient.reshape(len(rows), -1, gradient.shape[-1]).chunk(ctx.n_blocks, -1)
        of_x = torch.empty_like(rows) if ctx.needs_input_grad[1] else None
        written: set[tuple[int, int]] = set()
        of_sides: list[Tensor] = []
        for (first, last, block), a, b, z in zip(spans, sides[::2], sides[1::2], inner, strict=True):
            of_y = blocks[block][first:last]
            of_z = torch.bmm(of_y, b.transpose(1, 2))
            of_sides += [torch.bmm(rows[first:last].transpose(1, 2), of_z), torch.bmm(z.transpose(1, 2), of_y)]
            if of_x is not None and (first, last) in written:  # a fused map holds several blocks of the same trials
                of_x[first:last].baddbmm_(of_z, a.transpose(1, 2))
            elif of_x is not None:
                torch.bmm(of_z, a.transpose(1, 2), out=of_x[first:last])
                written.add((first, last))
        return gradient, None if of_x is None else of_x.view(ctx.shape), None, None, None, *of_sides
