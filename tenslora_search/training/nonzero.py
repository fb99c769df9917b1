"""What training has left of an adapter: how many of its trained numbers still matter."""

from collections.abc import Iterable

import torch
from torch import Tensor

from tenslora_search.nn.tensor import FactoredTensor


@torch.no_grad()
def n_nonzero(tensors: Iterable[tuple[FactoredTensor, int]]) -> int:
    """Trained numbers of a trial that are not zero, in terms that are not: a term of which some
    factor holds only zeros (a gate that is shut) adds nothing, whatever the others hold.

    `tensors`: each with the trial's place in it, one a shape group. Of a form that makes its
    factors, where a zero may well matter, all numbers.
    """
    return sum(int(_left(tensor, place)) for tensor, place in tensors)


def _left(tensor: FactoredTensor, place: int) -> Tensor:
    form, looped = tensor.network.form, len(tensor.looped)
    if form.make is not None:
        own = [tensor.entries(factor.name, place).sum() for factor in form.counted]
        return torch.stack(own).sum()
    marks = {
        name: tensor.of_trial(name, value, place) != 0 for name, value in tensor.arrays.items()
    }
    alive: dict[str, Tensor] = {}
    for factor in form.learnt:
        for at, axis in enumerate(factor.axes):
            if axis.is_bond:
                others = [looped + k for k in range(len(factor.axes)) if k != at]
                found = marks[factor.name]
                found = found.any(others) if others else found
                alive[axis.name] = alive.get(axis.name, found) & found
    total = next(iter(marks.values())).new_zeros((), dtype=torch.int64)
    for factor in form.counted:
        mark = marks[factor.name]
        for at, axis in enumerate(factor.axes):
            if axis.is_bond:
                ones = (1,) * (len(factor.axes) - 1 - at)
                shape = (*mark.shape[:looped], *(1,) * at, mark.shape[looped + at], *ones)
                mark = mark & alive[axis.name].reshape(shape)
        total = total + mark.sum()
    return total
