"""RULES: how a trial is trained. An entry's knobs are keyword parameters; it returns a `Rule`."""

from collections.abc import Callable, Iterator
from functools import partial
from typing import TYPE_CHECKING, Annotated

from tenslora_search.spec.form import Care, Factor, Learner, Rule
from tenslora_search.spec.knobs import Range
from tenslora_search.spec.table import Table

if TYPE_CHECKING:
    from torch import Tensor


def plain() -> Rule:
    """Every factor at the trial's learning rate."""
    return Rule()


def lora_plus() -> Rule:
    """The factor that starts at zero learns 16 times as fast: LoRA+, arXiv 2402.12354; on a Tucker
    core, TensLoRA+.
    """
    return Rule(care=lambda factor: Care(rate=16.0 if factor.start == "zero" else 1.0))


def prilora(
    *,
    ratio: Annotated[float, Range(0.05, 0.9)] = 0.5,
    every: Annotated[int, Range(1, 1_000, log=True)] = 40,
) -> Rule:
    """After every `every` steps the least important share `ratio` of each column of A becomes zero;
    zeros learn on, and may come back.

    A is the factor of the whole input, if it learns and does not start at zero. An entry's
    importance is |A| sqrt(s), s the mean of its row of Adam's second moments: row j of A's gradient
    grows with the input's feature j.
    Reference: PRILoRA, arXiv 2401.11316, which joins |A| and a running statistic of the layer's
    input, and whose ranks grow with depth (allocator `ramp`). The constants (half, 40 steps), the
    square root and that s stands for the input's statistic are our reading.
    """
    return Rule(between=partial(_prune, ratio=ratio), every=every)


def _prune(learner: Learner, *, ratio: float) -> None:
    for factor in learner.factors:
        if factor.frozen or factor.start == "zero" or factor.axes[0].name != "input":
            continue
        at = -len(factor.axes)
        moments = learner.moments(factor)
        for value, (_, square) in zip(learner.value(factor), moments, strict=True):
            rows = square.mean(tuple(range(at + 1, 0)), keepdim=True).sqrt()
            importance = value.abs() * rows
            n_pruned = min(round(ratio * value.shape[at]), value.shape[at] - 1)
            least = importance.kthvalue(n_pruned + 1, dim=at, keepdim=True).values
            value.mul_(importance >= least)


def dedup(*, weight: Annotated[float, Range(1e-6, 1e-1, log=True)] = 1e-3) -> Rule:
    """Columns of a factor that point the same way cost: `weight` times the mean squared cosine of
    two of them is added to the loss, for each factor with one bond. Ours, in place of ReSoRA's.

    Over all modes of the factor; a rank of 1 has no two columns. The columns are those that the
    trial learns. Reference: ReSoRA, arXiv 2507.20745, whose loss we have not read: a text that
    cites it says that it regularizes the subspaces which the columns of A and B span.
    """

    def penalty(learner: Learner) -> "Tensor":
        import torch

        costs = [
            _overlap(value.movedim(place, -1), len(factor.axes))
            for factor, place in _columns(learner)
            for value in learner.value(factor)
        ]
        start = learner.value(learner.factors[0])[0].new_zeros(())
        return weight * torch.stack([start, *costs]).sum()

    return Rule(penalty=penalty)


def _columns(learner: Learner) -> "Iterator[tuple[Factor, int]]":
    """The factors with one bond, and where it stands, from the end."""
    for factor in learner.factors:
        are_bonds = [axis.is_bond for axis in factor.axes]
        if not factor.frozen and len(are_bonds) > 1 and sum(are_bonds) == 1:
            yield factor, are_bonds.index(True) - len(are_bonds)


def _overlap(value: "Tensor", n_axes: int) -> "Tensor":  # (*looped, *axes), the bond last
    """The mean squared cosine of two columns, over all copies.

    A column of zeros points nowhere: its cosines are 0, and so are their gradients.
    """
    columns = value.flatten(value.ndim - n_axes, -2)
    rank, squares = columns.shape[-1], columns.square().sum(-2)
    sizes = squares.unsqueeze(-1) * squares.unsqueeze(-2)
    cosines = (columns.mT @ columns).square() / (sizes + 1e-12)
    off = cosines.sum((-2, -1)) - cosines.diagonal(dim1=-2, dim2=-1).sum(-1)
    return off.mean() / max(1, rank * (rank - 1))


def head_alone() -> Rule:
    """The adapter stays where it starts, at an update of zero: the task head alone learns, on a
    frozen model.
    """
    return Rule(care=lambda factor: Care(rate=0.0))


RULES: Table[Callable[..., Rule]] = Table(
    "rule", {entry.__name__: entry for entry in (plain, lora_plus, prilora, dedup, head_alone)}
)
