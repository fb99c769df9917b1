"""Terms with a number each, of which training keeps the most important."""

import math
from functools import partial
from typing import TYPE_CHECKING, Annotated

from tenslora_search.spec.decompositions.basic import cp
from tenslora_search.spec.form import Axis, Factor, Form, Learner, Rule, bond
from tenslora_search.spec.knobs import Range

if TYPE_CHECKING:
    from torch import Tensor

START, END = 0.1, 0.5
"""Shares of the steps: until the first all terms are there, from the last on those that are kept.
The example of the code (CoLA: 800, and 3,500 of some 6,700 steps before the end) has much the same.
"""


def adalora(
    modes: tuple[Axis, ...],
    *,
    keep: Annotated[float, Range(0.1, 1.0)] = 0.5,
    gamma: Annotated[float, Range(1e-3, 1.0, log=True)] = 0.1,
    every: Annotated[int, Range(1, 200, log=True)] = 10,
) -> Form:
    """LoRA as a singular value decomposition, W = sum_r g[r] u_1[:, r] x ... x u_n[:, r], of whose
    terms training keeps the share `keep` that matters most.

    `gamma` times the mean of |A^T A - I| and |B^T B - I| is added to the loss, so that columns stay
    orthonormal; of the other factors none. After every `every` steps the terms of all copies are
    ranked, and beyond a number that falls from all to `keep` along a cubic between START and END
    of the steps their g is set to 0. Until END they may come back; then they are cut, columns too.
    A term's importance is that of g plus the means of those of its columns: |x| s times |x| d for
    an entry x, s the root of its second moment and d its deviation, both of Adam.
    The budget counts all terms at the start. Gates start at zero, columns with a length of 1.
    Reference: AdaLoRA, arXiv 2303.10512, and QingruZhang/AdaLoRA (gamma 0.1, every 10). That Adam's
    moments stand for its smoothed |x dx| and their uncertainty, and the cut at END, are ours.
    """
    sides = [Factor(one.name, one.axes, "signs") for one in cp(modes).factors]
    sides[0] = Factor("input", sides[0].axes, "normal", ("input",))
    sides[1] = Factor(sides[1].name, sides[1].axes, "normal", (modes[1].name,))
    rule = Rule(
        penalty=partial(_not_orthonormal, gamma=gamma, names=("input", modes[1].name)),
        between=partial(_keep_the_best, keep=keep),
        every=every,
    )
    return Form((*sides, Factor("gate", (bond("r"),))), rule=rule)


def share_kept(step: int, n_steps: int, keep: float) -> float:
    """The share of terms after a step: all, then along a cubic, then `keep`.

    >>> [round(share_kept(step, 100, 0.5), 3) for step in (0, 10, 30, 50, 100)]
    [1.0, 1.0, 0.562, 0.5, 0.5]
    """
    at = (step / n_steps - START) / (END - START)
    return keep + (1 - keep) * (1 - min(1.0, max(0.0, at))) ** 3


def _not_orthonormal(learner: Learner, *, gamma: float, names: tuple[str, ...]) -> "Tensor":
    """A column of zeros, which is cut or padding, costs nothing."""
    import torch

    found: list[Tensor] = []
    for factor in learner.factors:
        if factor.name in names:
            for columns in learner.value(factor):  # (*looped, mode, r)
                gram = columns.mT @ columns
                there = (gram.detach().diagonal(dim1=-2, dim2=-1) > 0).to(gram.dtype)
                off = gram - torch.diag_embed(there)
                found.append((off.square().sum((-2, -1)) + 1e-12).sqrt().mean())
    return gamma * torch.stack(found).sum() / (len(found) / len(names))


def _keep_the_best(learner: Learner, *, keep: float) -> None:
    """Sets g to 0 beyond the terms that are kept now; in the end their columns and moments too."""
    import torch

    gate = next(factor for factor in learner.factors if factor.name == "gate")
    own = torch.cat([one.flatten() for one in learner.entries(gate)])
    share = share_kept(int(learner.step), learner.n_steps, keep)
    n_kept = max(1, math.ceil(share * int(own.sum())))
    scores = torch.cat([one.flatten() for one in _importance(learner)])
    scores = torch.where(own.to(scores.device), scores, -1.0)
    stays = torch.zeros_like(scores)
    stays[scores.topk(n_kept).indices] = 1.0
    kept: list[Tensor] = []
    start = 0
    for one in learner.value(gate):
        kept.append(stays[start : start + one.numel()].reshape(one.shape))
        start += one.numel()
    if learner.step < END * learner.n_steps:
        for value, terms in zip(learner.value(gate), kept, strict=True):
            value.mul_(terms)
        return
    for factor in learner.factors:
        of_groups = zip(learner.value(factor), learner.moments(factor), kept, strict=True)
        for value, moments, terms in of_groups:
            for one in (value, *moments):
                one.mul_(terms if factor is gate else terms.unsqueeze(-2))


def _importance(learner: Learner) -> "list[Tensor]":
    """Of each term: (*looped, r) a shape group."""
    import torch

    found: list[list[Tensor]] = []
    number = int(learner.step)
    for factor in learner.factors:
        of_factor: list[Tensor] = []
        pairs = zip(learner.value(factor), learner.moments(factor), strict=True)
        for value, (mean, square) in pairs:
            first, second = mean / (1 - 0.9**number), square / (1 - 0.999**number)
            spread = (second - first.square()).clamp(min=0).sqrt()
            each = value.square() * second.sqrt() * spread
            of_factor.append(each if factor.name == "gate" else each.mean(-2))
        found.append(of_factor)
    return [torch.stack(parts).sum(0) for parts in zip(*found, strict=True)]
