"""PackedAdamW: AdamW over a pack, whose parameters lie in one matrix, a row a trial; each has its
own rate and clipping.
"""

import math
from collections.abc import Sequence
from typing import NamedTuple

import torch
from torch import Tensor, nn

BETAS, EPSILON = (0.9, 0.999), 1e-8


class Part(NamedTuple):
    """A parameter (trial, ...) of trials that lie side by side, and each trial's learning rate for
    it.
    """

    parameter: nn.Parameter
    trials: range
    rates: Sequence[float]


class PackedAdamW:
    """AdamW (Loshchilov and Hutter, arXiv 1711.05101); trials share nothing but the step number.

    The parameters become views into `values` (trial, entry), so that a step is a few operations on
    whole matrices, however many constructions a pack mixes. Rows shorter than the longest are
    padded with zeros, which stay zero.
    """

    def __init__(
        self, parts: Sequence[Part], *, weight_decay: Tensor, clip: Tensor
    ) -> None:  # (trial,), (trial,)
        self.parameters = [part.parameter for part in parts]
        device, n_trials = clip.device, len(clip)
        filled, self._places = [0] * n_trials, []
        for parameter, trials, _ in parts:
            start = max(filled[trial] for trial in trials)
            size = parameter[0].numel()
            self._places.append((slice(trials.start, trials.stop), slice(start, start + size)))
            filled[trials.start : trials.stop] = [start + size] * len(trials)
        self.values, self.means, self.squares, self._gradients, self._rates = (
            torch.zeros(n_trials, max(filled), device=device) for _ in range(5)
        )
        self._decay, self._clip = weight_decay[:, None], clip[:, None]
        for part, (rows, columns), view in zip(
            parts, self._places, self.views(self.values), strict=True
        ):
            self._rates[rows, columns] = torch.tensor(part.rates, device=device)[:, None]
            view.copy_(part.parameter.detach())
            part.parameter.data = view

    def views(self, matrix: Tensor) -> list[Tensor]:  # (trial, entry)
        """For each parameter its part of a matrix, in the parameter's shape."""
        return [
            matrix[place].view(parameter.shape)
            for parameter, place in zip(self.parameters, self._places, strict=True)
        ]

    @torch.no_grad()
    def step(self, gradients: Sequence[Tensor | None], number: Tensor, schedule: Tensor) -> None:
        """One step, counted from 1, on one gradient a parameter; `schedule` (trial,) multiplies the
        rates.

        Number and schedule are read on the device, so that the step can be replayed as a CUDA
        graph.
        """
        for view, gradient in zip(self.views(self._gradients), gradients, strict=True):
            if gradient is not None:
                view.copy_(gradient)
        norms = torch.linalg.vector_norm(self._gradients, dim=1, keepdim=True)
        self._gradients.mul_((self._clip / norms.clamp_min(1e-12)).clamp_max(1.0))
        self.means.lerp_(self._gradients, 1 - BETAS[0])
        self.squares.mul_(BETAS[1]).addcmul_(self._gradients, self._gradients, value=1 - BETAS[1])
        of_mean, of_square = 1 - BETAS[0] ** number, 1 - BETAS[1] ** number
        update = self.means / (self.squares / of_square).sqrt_().add_(EPSILON).mul_(of_mean)
        self.values.sub_(
            update.addcmul_(self.values, self._decay).mul_(self._rates).mul_(schedule[:, None])
        )


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
