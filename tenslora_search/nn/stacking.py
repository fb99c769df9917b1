"""side_by_side(): one side of the pairs of several runs of trials as one tensor; all_matrices():
of many tensors, on a GPU side by side.
"""

from collections.abc import Sequence
from functools import cache
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor
from torch.autograd.function import once_differentiable

if TYPE_CHECKING:
    from tenslora_search.nn.tensor import FactoredTensor


def side_by_side(shape: tuple[int, ...], dtype: torch.dtype, sides: Sequence[Tensor]) -> Tensor:
    """Sides (trial, projection, layer, rows, columns) of several runs -> `shape` (projection,
    layer, trial, rows, columns).

    In the type asked for, all stacked axes at full length, trials in a row, padded with zeros: one
    copy a run.
    """
    return _SideBySide.apply(shape, dtype, *sides)  # type: ignore[return-value]


class _SideBySide(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, shape: tuple[int, ...], dtype: torch.dtype, *sides: Tensor) -> Tensor:
        padded = any(side.shape[-2:] != shape[-2:] for side in sides)
        whole = (torch.zeros if padded else torch.empty)(shape, dtype=dtype, device=sides[0].device)
        ctx.shapes, ctx.dtype = [side.shape for side in sides], sides[0].dtype
        for part, side in zip(_parts(whole, ctx.shapes), sides, strict=True):
            part.copy_(side)
        return whole

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor | None, ...]:
        return (
            None,
            None,
            *(
                _summed(part, shape, ctx.dtype)
                for part, shape in zip(_parts(gradient, ctx.shapes), ctx.shapes, strict=True)
            ),
        )


def _summed(part: Tensor, shape: tuple[int, ...], dtype: torch.dtype) -> Tensor:
    """To the shape, over the stacked axes that are of length 1 there."""
    axes = [axis for axis in (1, 2) if shape[axis] < part.shape[axis]]
    return part.sum(axes, keepdim=True, dtype=dtype) if axes else part.to(dtype)


def _parts(whole: Tensor, shapes: Sequence[tuple[int, ...]]) -> list[Tensor]:
    """Of (projection, layer, trial, rows, columns), each run's part as (trial, projection, layer,
    rows, columns).
    """
    parts, first = [], 0
    for n_trials, _, _, n_rows, n_columns in shapes:
        parts.append(
            whole[:, :, first : first + n_trials, :n_rows, :n_columns].permute(2, 0, 1, 3, 4)
        )
        first += n_trials
    return parts


def all_matrices(tensors: "Sequence[FactoredTensor]") -> list[tuple[Tensor, ...]]:
    """Of every tensor. Small kernels by the hundred: on a GPU they run side by side, as do their
    gradients.
    """
    if len(tensors) < 2 or tensors[0].scale.device.type != "cuda":
        return [tensor.matrices() for tensor in tensors]
    main, sides = torch.cuda.current_stream(), _side_streams(tensors[0].scale.device.index)
    for side in sides:
        side.wait_stream(main)
    contracted = []
    for number, tensor in enumerate(tensors):
        with torch.cuda.stream(sides[number % len(sides)]):
            contracted.append(tensor.matrices())
    for side in sides:
        main.wait_stream(side)
    return contracted


@cache
def _side_streams(device: int) -> list[torch.cuda.Stream]:
    return [torch.cuda.Stream(device) for _ in range(N_STREAMS)]


N_STREAMS = 8
