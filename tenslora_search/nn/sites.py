"""Site: one frozen linear map plus K updates, y = x W + (x A) B; K trials' batches lie side by
side in x.
"""

from collections.abc import Sequence
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn
from torch.autograd.function import once_differentiable

from tenslora_search.spec.fused import Columns
from tenslora_search.spec.table import QuestionError


class PackError(QuestionError):
    """This model sends something without a batch through a site, which K trials cannot share; one
    at a time works.
    """


class Place(NamedTuple):
    """Where a projection of one layer lives: the module's name, which of its outputs are its own,
    and how many the map has.
    """

    module: str
    columns: Columns
    outputs: int


class Update(NamedTuple):
    """What trials `first` to `last` (not included), which lie side by side, add to some columns: x
    times the matrices, one after the other.

    Two matrices are a pair of low rank, A (trial, input, rank) and B (trial, rank, output); one is
    a dense update (trial, input, output).
    """

    first: int
    last: int
    columns: Columns
    matrices: tuple[Tensor, ...]


def is_quantized(weight: Tensor) -> bool:
    """Whether it is stored as integers or as floats of 8 bits: nothing is computed, added or learnt
    in such a type.
    """
    return not weight.is_floating_point() or weight.dtype.itemsize == 1


def of_columns(tensor: Tensor, columns: Columns) -> Tensor:
    """View of a projection's columns of (..., outputs): (..., width), or (..., runs, width) where
    they lie in several runs.
    """
    if columns.runs > 1:
        tensor = tensor.unflatten(-1, (columns.runs, -1))
    return tensor[..., columns.start : columns.start + columns.width]


RESTING: list[Update] = []
"""In the place of a site's updates while they are made anew."""


class Site(nn.Module):
    """A frozen map with the updates of the projections it holds: one, or several in a fused map,
    each over its own columns.

    `updates` are set anew before each forward pass. In a state dict it is the map itself: files
    know of no `frozen`.
    """

    def __init__(self, frozen: nn.Module, name: str, n_trials: int) -> None:
        super().__init__()
        self.frozen, self.name, self.n_trials = frozen, name, n_trials
        self.updates: list[Update] = []
        self._serves = 0
        self.is_called = self.is_read = False

    def rest(self) -> None:
        """Lets go of the updates, which are about to be made anew; to be called now is an error."""
        self.updates = RESTING

    def serve(self, updates: list[Update]) -> None:
        """Begins a forward pass with these updates; neither called nor read."""
        self.updates, self._serves = updates, id(self)
        self.is_called = self.is_read = False

    def __getstate__(self) -> dict[str, Any]:
        return {**self.__dict__, "updates": []}  # a copy makes its own

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
        """The frozen weight. Some models look at its type; some compute with it and never call the
        map, which the adapter then finds.
        """
        self.is_read = True
        return self.frozen.weight  # type: ignore[return-value]

    @property
    def bias(self) -> Tensor | None:
        return self.frozen.bias  # type: ignore[return-value]

    def forward(self, x: Tensor) -> Tensor:  # x: (trial * batch, ..., input)
        self.is_called = True
        updates = self.updates  # once: another thread may be about to change them
        if not torch.compiler.is_compiling():
            self._check_served(updates)
        if not updates:
            return self.frozen(x)
        if (
            x.shape[0] % self.n_trials
        ):  # DeBERTa sends positions, which have no batch, through its query and key maps
            raise PackError(
                f"{self.n_trials} trials cannot share a batch of {x.shape[0]} here; attach one at "
                "a time (--pack 1)."
            )
        if torch.compiler.is_compiling() or not self._is_plain:
            return self._by_autograd(x, updates)
        spans = [(one.first, one.last, one.columns, len(one.matrices)) for one in updates]
        matrices = [matrix for one in updates for matrix in one.matrices]
        y: Any = _Product.apply(x, self.frozen, self.n_trials, spans, *matrices)
        return y

    def _check_served(self, updates: list[Update]) -> None:
        if updates is RESTING:
            raise QuestionError(
                f"{self.name} is called in one thread while its updates are made in another; give "
                "each thread that trains a copy of the model of its own."
            )
        if self._serves != id(self):
            raise QuestionError(
                f"{self.name} is in a copy of a part of the model, which its adapter does not "
                "reach; copy or wrap (nn.DataParallel) the whole model."
            )

    @property
    def _is_plain(self) -> bool:
        """Whether the frozen map is x W + b with W as it stands in memory: not quantized, trained,
        offloaded, nor changed by anybody's hooks.
        """
        frozen = self.frozen
        return (
            (type(frozen) is nn.Linear or type(frozen).__name__ == "Conv1D")
            and not frozen.weight.requires_grad  # type: ignore[union-attr]
            and not frozen.weight.is_meta  # type: ignore[union-attr]
            and "forward" not in frozen.__dict__
            and not frozen._forward_hooks
            and not frozen._forward_pre_hooks
        )

    def _by_autograd(self, x: Tensor, updates: list[Update]) -> Tensor:
        y = self.frozen(x)
        rows = x.reshape(self.n_trials, -1, x.shape[-1]).to(y.dtype)
        wide = y.reshape(self.n_trials, -1, y.shape[-1]).clone()
        for one in updates:
            product = rows[one.first : one.last]
            for matrix in one.matrices:
                product = torch.bmm(product, matrix.to(y.device, y.dtype))
            target = of_columns(wide[one.first : one.last], one.columns)
            target += product.reshape(target.shape)
        return wide.view(y.shape)


class _Product(torch.autograd.Function):
    """x W + (x A) B with updates in place, in the type that x W has; autograd's own way copies y,
    and adds gradients of x, once more for each update.
    """

    @staticmethod
    def forward(
        ctx: Any,
        x: Tensor,  # (trial * batch, ..., input)
        frozen: nn.Module,
        n_trials: int,
        spans: Sequence[tuple[int, int, Columns, int]],
        *matrices: Tensor,
    ) -> Tensor:
        y: Tensor = frozen(x)
        rows = x.reshape(n_trials, -1, x.shape[-1]).to(y.dtype)
        wide = y.view(n_trials, -1, y.shape[-1])
        cast = [matrix.to(y.device, y.dtype) for matrix in matrices]
        inner, rest = list[Tensor](), iter(cast)
        for first, last, columns, n in spans:
            z = rows[first:last]
            for _ in range(n - 1):
                z = torch.bmm(z, next(rest))
                inner.append(z)
            _add(of_columns(wide[first:last], columns), z, next(rest))
        ctx.frozen, ctx.spans, ctx.shape = frozen, spans, x.shape
        ctx.kinds = [(matrix.device, matrix.dtype) for matrix in matrices]
        ctx.save_for_backward(rows, *cast, *inner)
        return y

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor | None, ...]:
        rows, *saved = ctx.saved_tensors
        matrices, inner = iter(saved[: len(ctx.kinds)]), iter(saved[len(ctx.kinds) :])
        of_x = None
        if ctx.needs_input_grad[0]:
            weight = ctx.frozen.weight.to(gradient.dtype)
            of_x = (gradient @ (weight if isinstance(ctx.frozen, nn.Linear) else weight.T)).view(
                rows.shape
            )
        wide = gradient.reshape(len(rows), -1, gradient.shape[-1])
        found: list[Tensor] = []
        for first, last, columns, n in ctx.spans:
            of_z = of_columns(wide[first:last], columns)
            of_z = of_z.flatten(2) if columns.runs > 1 else of_z
            chain = [next(matrices) for _ in range(n)]
            inputs = [rows[first:last], *(next(inner) for _ in range(n - 1))]
            of_chain = list[Tensor]()
            for z, matrix in zip(inputs[:0:-1], chain[:0:-1], strict=True):
                of_chain.append(torch.bmm(z.transpose(1, 2), of_z))
                of_z = torch.bmm(of_z, matrix.transpose(1, 2))
            of_chain.append(torch.bmm(rows[first:last].transpose(1, 2), of_z))
            if of_x is not None:
                of_x[first:last].baddbmm_(of_z, chain[0].transpose(1, 2))
            found += reversed(of_chain)
        of_matrices = (one.to(*kind) for one, kind in zip(found, ctx.kinds, strict=True))
        return None if of_x is None else of_x.view(ctx.shape), None, None, None, *of_matrices


def _add(target: Tensor, z: Tensor, matrix: Tensor) -> None:
    """target += z matrix, in place, where target may be split into runs."""
    if target.ndim == z.ndim:
        target.baddbmm_(z, matrix)
    else:
        target.add_(torch.bmm(z, matrix).view(target.shape))
