"""Site: one frozen linear map plus K low-rank pairs, y = x W + (x A) B; K trials' batches lie side
by side in x.
"""

from collections.abc import Sequence
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn
from torch.autograd.function import once_differentiable

from tenslora_search.spec.table import QuestionError


class PackError(QuestionError):
    """This model sends something without a batch through a site, which K trials cannot share; one
    at a time works.
    """


class Place(NamedTuple):
    """Where a projection of one layer lives: the module's name and which columns of its outputs are
    its own.
    """

    module: str
    block: int
    of: int


class Pair(NamedTuple):
    """What trials `first` to `last` (not included), which lie side by side, add to a block of
    columns: x A B.
    """

    first: int
    last: int
    block: int
    a: Tensor  # (trial, input, rank)
    b: Tensor  # (trial, rank, output)


def is_quantized(weight: Tensor) -> bool:
    """Whether it is stored as integers or as floats of 8 bits: nothing is computed, added or learnt
    in such a type.
    """
    return not weight.is_floating_point() or weight.dtype.itemsize == 1


class Site(nn.Module):
    """A frozen map with the pairs of the projections it holds: one, or several in a fused map, each
    over its own columns.

    `pairs` are set anew before each forward pass. In a state dict it is the map itself: files know
    of no `frozen`.
    """

    def __init__(self, frozen: nn.Module, n_blocks: int, n_trials: int) -> None:
        super().__init__()
        self.frozen, self.n_blocks, self.n_trials = frozen, n_blocks, n_trials
        self.pairs: list[Pair] = []

    def __getstate__(self) -> dict[str, Any]:
        return {**self.__dict__, "pairs": []}  # a copy makes its own

    def state_dict(self, *arguments: Any, **options: Any) -> dict[str, Any]:
        return self.frozen.state_dict(*arguments, **options)

    def _load_from_state_dict(
        self, state_dict: dict[str, Any], prefix: str, *arguments: Any
    ) -> None:
        for name in [name for name in state_dict if name.startswith(prefix)]:
            state_dict[f"{prefix}frozen.{name.removeprefix(prefix)}"] = state_dict.pop(name)
        super()._load_from_state_dict(state_dict, prefix, *arguments)

    @property
    def weight(self) -> Tensor:
        """The frozen weight; some models look at its type."""
        return self.frozen.weight  # type: ignore[return-value]

    @property
    def bias(self) -> Tensor | None:
        return self.frozen.bias  # type: ignore[return-value]

    def forward(self, x: Tensor) -> Tensor:  # x: (trial * batch, ..., input)
        if not self.pairs:
            return self.frozen(x)
        if (
            x.shape[0] % self.n_trials
        ):  # DeBERTa sends positions, which have no batch, through its query and key maps
            raise PackError(
                f"{self.n_trials} trials cannot share a batch of {x.shape[0]} here; attach one at "
                "a time (--pack 1)."
            )
        if self._is_plain and not self.weight.requires_grad and not torch.compiler.is_compiling():
            spans = [(pair.first, pair.last, pair.block) for pair in self.pairs]
            sides = [side for pair in self.pairs for side in (pair.a, pair.b)]
            return _Product.apply(x, self.frozen, self.n_trials, self.n_blocks, spans, *sides)  # type: ignore[return-value]
        return self._by_autograd(x)

    @property
    def _is_plain(self) -> bool:
        """Whether the frozen map is x W + b as it stands in memory: not a quantized one, nor one of
        a compiler.
        """
        return type(self.frozen) is nn.Linear or type(self.frozen).__name__ == "Conv1D"

    def _by_autograd(self, x: Tensor) -> Tensor:
        y = self.frozen(x)
        rows, columns = (
            x.reshape(self.n_trials, -1, x.shape[-1]),
            y.view(self.n_trials, -1, y.shape[-1]),
        )
        blocks = []
        for number, block in enumerate(columns.chunk(self.n_blocks, -1)):
            parts = [
                torch.baddbmm(
                    block[one.first : one.last],
                    torch.bmm(rows[one.first : one.last].to(one.a.dtype), one.a),
                    one.b,
                )
                for one in self.pairs
                if one.block == number
            ]
            blocks.append(torch.cat(parts) if parts else block)
        return torch.cat(blocks, -1).view(y.shape)


class _Product(torch.autograd.Function):
    """x W + (x A) B with updates in place; autograd's own way copies y, and adds gradients of x,
    once more for each pair.
    """

    @staticmethod
    def forward(
        ctx: Any,
        x: Tensor,  # (trial * batch, ..., input)
        frozen: nn.Module,
        n_trials: int,
        n_blocks: int,
        spans: Sequence[tuple[int, int, int]],
        *sides: Tensor,
    ) -> Tensor:
        y: Tensor = frozen(x)
        rows = x.reshape(n_trials, -1, x.shape[-1]).to(sides[0].dtype)
        blocks = y.view(n_trials, -1, y.shape[-1]).chunk(n_blocks, -1)
        inner = []
        for (first, last, block), a, b in zip(spans, sides[::2], sides[1::2], strict=True):
            inner.append(torch.bmm(rows[first:last], a))
            blocks[block][first:last].baddbmm_(inner[-1], b)
        ctx.frozen, ctx.spans, ctx.n_blocks, ctx.shape = frozen, spans, n_blocks, x.shape
        ctx.save_for_backward(rows, *sides, *inner)
        return y

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor | None, ...]:
        rows, *saved = ctx.saved_tensors
        n = len(ctx.spans)
        sides, inner = saved[: 2 * n], saved[2 * n :]
        of_x = None
        if ctx.needs_input_grad[0]:
            weight = ctx.frozen.weight.to(gradient.dtype)
            of_x = (gradient @ (weight if isinstance(ctx.frozen, nn.Linear) else weight.T)).view(
                rows.shape
            )
        blocks = gradient.reshape(len(rows), -1, gradient.shape[-1]).chunk(ctx.n_blocks, -1)
        of_sides: list[Tensor] = []
        for (first, last, block), a, b, z in zip(
            ctx.spans, sides[::2], sides[1::2], inner, strict=True
        ):
            of_y = blocks[block][first:last]
            of_z = torch.bmm(of_y, b.transpose(1, 2))
            of_sides += [
                torch.bmm(rows[first:last].transpose(1, 2), of_z),
                torch.bmm(z.transpose(1, 2), of_y),
            ]
            if of_x is not None:
                of_x[first:last].baddbmm_(of_z, a.transpose(1, 2))
        return None if of_x is None else of_x.view(ctx.shape), None, None, None, None, *of_sides
