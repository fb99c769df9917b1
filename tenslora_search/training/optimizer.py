"""PackedAdamW: AdamW over a pack, whose parameters lie in one matrix, a row a trial; each has its
own rate and clipping, and its own soft threshold and decay where a rule asks.
"""

import math
from collections.abc import Sequence
from typing import NamedTuple

import torch
from torch import Tensor, nn

from tenslora_search.spec.form import Care

BETAS, EPSILON = (0.9, 0.999), 1e-8


class Part(NamedTuple):
    """A parameter (trial, ...) of trials that lie side by side, each trial's learning rate, and how
    it takes care of the parameter.
    """

    parameter: nn.Parameter
    trials: range
    rates: Sequence[float]
    """at the top of the schedule; each is multiplied by its trial's `Care.rate`"""
    cares: Sequence[Care]


class PackedAdamW:
    """AdamW (Loshchilov and Hutter, arXiv 1711.05101), then a soft threshold; trials share nothing.

    The parameters become views into `values` (trial, entry), so that a step is a few operations on
    whole matrices, however many constructions a pack mixes. Rows shorter than the longest are
    padded with zeros, which stay zero. What no trial of the pack asks for costs nothing.
    """

    def __init__(
        self, parts: Sequence[Part], *, weight_decay: Tensor, clip: Tensor
    ) -> None:  # (trial,), (trial,)
        self.parameters = [part.parameter for part in parts]
        device, n_trials = clip.device, len(clip)
        filled, self._places = [0] * n_trials, []
        for part in parts:
            start = max(filled[trial] for trial in part.trials)
            size = part.parameter[0].numel()
            rows = slice(part.trials.start, part.trials.stop)
            self._places.append((rows, slice(start, start + size)))
            filled[rows] = [start + size] * len(part.trials)
        self.values, self.means, self.squares, self.gradients = (
            torch.zeros(n_trials, max(filled), device=device) for _ in range(4)
        )
        for part, view in zip(parts, self.views(self.values), strict=True):
            view.copy_(part.parameter.detach())
            part.parameter.data = view
        self._clip = clip[:, None]
        self._rates = self._matrix(
            [
                [rate * care.rate for rate, care in zip(part.rates, part.cares, strict=True)]
                for part in parts
            ]
        )
        self._shrink = self._asked([[care.shrink for care in part.cares] for part in parts])
        self._fading = self._asked([[care.fading_shrink for care in part.cares] for part in parts])
        self._still = self._asked([[float(not care.rate) for care in part.cares] for part in parts])
        spared = self._asked([[float(not care.decays) for care in part.cares] for part in parts])
        decay = weight_decay[:, None]
        self._decay = decay if spared is None else decay * (1 - spared)

    def _matrix(self, columns: Sequence[Sequence[float]]) -> Tensor:
        """(trial, entry) of a number for each trial of each parameter."""
        matrix = torch.zeros_like(self.values)
        for place, numbers in zip(self._places, columns, strict=True):
            matrix[place] = torch.tensor(numbers, device=matrix.device)[:, None]
        return matrix

    def _asked(self, columns: Sequence[Sequence[float]]) -> Tensor | None:
        """As `_matrix`; None where all numbers are 0."""
        return self._matrix(columns) if any(any(numbers) for numbers in columns) else None

    def views(self, matrix: Tensor) -> list[Tensor]:  # (trial, entry)
        """For each parameter its part of a matrix, in the parameter's shape."""
        return [
            matrix[place].view(parameter.shape)
            for parameter, place in zip(self.parameters, self._places, strict=True)
        ]

    @torch.no_grad()
    def step(self, gradients: Sequence[Tensor | None], number: Tensor, schedule: Tensor) -> None:
        """One step on one gradient a parameter. For each trial (trial,): `number` is the step's,
        counted from 1, and `schedule` multiplies the rates.

        Number and schedule are read on the device, so that the step can be replayed as a CUDA
        graph.
        """
        for view, gradient in zip(self.views(self.gradients), gradients, strict=True):
            if gradient is not None:
                view.copy_(gradient)
        if self._still is not None:
            self.gradients.mul_(1 - self._still)
        norms = torch.linalg.vector_norm(self.gradients, dim=1, keepdim=True)
        self.gradients.mul_((self._clip / norms.clamp_min(1e-12)).clamp_max(1.0))
        self.means.lerp_(self.gradients, 1 - BETAS[0])
        self.squares.mul_(BETAS[1]).addcmul_(self.gradients, self.gradients, value=1 - BETAS[1])
        of_mean, of_square = ((1 - beta**number).float()[:, None] for beta in BETAS)
        update = self.means / (self.squares / of_square).sqrt_().add_(EPSILON).mul_(of_mean)
        share = schedule[:, None]
        self.values.sub_(update.addcmul_(self.values, self._decay).mul_(self._rates).mul_(share))
        self._threshold(share)

    def _threshold(self, share: Tensor) -> None:
        """sign(v) max(|v| - threshold, 0), the proximal step of an L1 norm, where a rule asks."""
        threshold = self._shrink
        if self._fading is not None:
            fading = self._fading * share
            threshold = fading if threshold is None else threshold + fading
        if threshold is not None:
            self.values.sub_(self.values.clamp(-threshold, threshold))

    @torch.no_grad()
    def restart(self, trial: int) -> None:
        """Forgets a trial's moments, as before its first step; its next step's number is 1."""
        self.means[trial].zero_()
        self.squares[trial].zero_()


def schedule(warmup: float, max_steps: int, steps: range) -> list[float]:
    """The share of the learning rate at each step (counted from 0): up along a line, then down
    along a cosine to 0.
    """
    rise = max(1, round(warmup * max_steps))

    def share(step: int) -> float:
        if step < rise:
            return (step + 1) / rise
        return 0.5 * (1 + math.cos(math.pi * (step - rise) / max(1, max_steps - rise)))

    return [share(step) for step in steps]
