"""PackedAdamW: AdamW over parameters whose first axis is the trial, each trial with its own rate, schedule and clipping."""

import math
from collections.abc import Sequence

import torch
from torch import (
    Tensor,
    _foreach_add_,  # pyright: ignore[reportPrivateImportUsage]
    _foreach_addcmul_,  # pyright: ignore[reportPrivateImportUsage]
    _foreach_div,  # pyright: ignore[reportPrivateImportUsage]
    _foreach_lerp_,  # pyright: ignore[reportPrivateImportUsage]
    _foreach_mul,  # pyright: ignore[reportPrivateImportUsage]
    _foreach_mul_,  # pyright: ignore[reportPrivateImportUsage]
    _foreach_sqrt,  # pyright: ignore[reportPrivateImportUsage]
    _foreach_sub_,  # pyright: ignore[reportPrivateImportUsage]
    nn,
)

BETAS, EPSILON = (0.9, 0.999), 1e-8


class PackedAdamW:
    """AdamW (Loshchilov and Hutter, arXiv 1711.05101) on `parameters` (trial, ...); trials share nothing but the step number.

    `rates` (trial,) is each trial's learning rate of a parameter at the top of its schedule. `owners` says which trials
    of the pack a parameter holds: packs of several structures keep each in parameters of its own.
    """

    def __init__(
        self,
        parameters: Sequence[nn.Parameter],
        owners: Sequence[Tensor],  # (trial of the parameter,) int64
        rates: Sequence[Tensor],  # (trial of the parameter,)
        *,
        weight_decay: Tensor,  # (trial,)
        clip: Tensor,  # (trial,)
    ) -> None:
        self.parameters: list[Tensor] = list(parameters)
        self.owners, self.clip = torch.cat(list(owners)), clip
        self.sizes = [len(owner) for owner in owners]
        self.shapes = [(-1, *(1,) * (parameter.ndim - 1)) for parameter in parameters]
        self.rates, self.decay = torch.cat(list(rates)), self._split(weight_decay[self.owners])
        self.means = [torch.zeros_like(parameter) for parameter in parameters]
        self.squares = [torch.zeros_like(parameter) for parameter in parameters]

    @torch.no_grad()
    def step(self, number: int, schedule: Tensor) -> None:
        """One step, counted from 1, from the gradients, which are then dropped; `schedule` (trial,) multiplies the rates."""
        gradients = [
            parameter.grad if parameter.grad is not None else torch.zeros_like(parameter) for parameter in self.parameters
        ]
        _foreach_mul_(gradients, self._clipping(gradients))
        _foreach_lerp_(self.means, gradients, 1 - BETAS[0])
        _foreach_mul_(self.squares, BETAS[1])
        _foreach_addcmul_(self.squares, gradients, gradients, 1 - BETAS[1])
        updates = _foreach_sqrt(self.squares)
        _foreach_mul_(updates, 1 / math.sqrt(1 - BETAS[1] ** number))
        _foreach_add_(updates, EPSILON)
        updates = _foreach_div(self.means, updates)
        _foreach_mul_(updates, 1 / (1 - BETAS[0] ** number))
        _foreach_add_(updates, _foreach_mul(self.parameters, self.decay))
        _foreach_sub_(self.parameters, _foreach_mul(updates, self._split(self.rates * schedule[self.owners])))
        for parameter in self.parameters:
            parameter.grad = None

    def _clipping(self, gradients: list[Tensor]) -> list[Tensor]:
        """For each parameter what its trials' gradients are multiplied by, so that no trial's norm exceeds its own limit."""
        squared = torch.cat([gradient.flatten(1).square().sum(1) for gradient in gradients])
        norms = torch.zeros_like(self.clip).index_add_(0, self.owners, squared).sqrt()
        return self._split((self.clip / norms.clamp_min(1e-12)).clamp_max(1.0)[self.owners])

    def _split(self, values: Tensor) -> list[Tensor]:
        """One value a trial of each parameter, parameter after parameter -> for each parameter (trial, 1, ...)."""
        return [one.view(shape) for one, shape in zip(values.split(self.sizes), self.shapes, strict=True)]


def schedule(warmup: float, max_steps: int, steps: range) -> list[float]:
    """The share of the learning rate at each step (counted from 0): up along a line, then down along a cosine to 0."""
    rise = max(1, round(warmup * max_steps))

    def share(step: int) -> float:
        if step < rise:
            return (step + 1) / rise
        return 0.5 * (1 + math.cos(math.pi * (step - rise) / max(1, max_steps - rise)))

    return [share(step) for step in steps]
