"""The intrinsic dimension of a model's hidden states, by TwoNN."""

from collections.abc import Callable, Mapping

import torch
from torch import Tensor, nn

from tenslora_search.backbone.first_token import all_tokens
from tenslora_search.data.batches import Batches, Split
from tenslora_search.data.goals import side_by_side
from tenslora_search.spec.table import QuestionError

LEAST_POINTS = 16
"""Different points without which nothing is said of a dimension."""
ROWS = 512
SUBSAMPLES = 8
"""Halves of the points over which an estimate is averaged."""
ALIKE = 1e-4
"""Two points are one if they lie closer than this, in units of the points' spread."""


def twonn(points: Tensor) -> float:  # (point, feature)
    """The dimension of the set that points lie on: n / sum log(r2 / r1), of the distances to the
    nearest two others (Facco et al., 2017). Points that repeat another are left out.

    Above some 4 dimensions it is too low for few points: 5 are found as 4.5 with 3,000.
    `QuestionError` for fewer than LEAST_POINTS different points.
    """
    different = distinct(points)
    if len(different) < LEAST_POINTS:
        raise QuestionError(
            f"an intrinsic dimension needs {LEAST_POINTS} rows that differ; there are "
            f"{len(different)}."
        )
    nearest = _distances(different).fill_diagonal_(torch.inf).topk(2, largest=False).values
    logs = (nearest[:, 1] / nearest[:, 0]).log().sum()
    return len(different) / max(float(logs), 1e-12)


def averaged(points: Tensor) -> float:  # (point, feature)
    """The mean of `twonn` over random halves of the points that differ, drawn from a fixed seed;
    of few points all at once.
    """
    different, generator = distinct(points), torch.Generator().manual_seed(0)
    half = len(different) // 2
    if half < LEAST_POINTS:
        return twonn(different)
    found = [
        twonn(different[torch.randperm(len(different), generator=generator)[:half]])
        for _ in range(SUBSAMPLES)
    ]
    return sum(found) / len(found)


def distinct(points: Tensor) -> Tensor:  # (point, feature)
    """The points in float64 without those that repeat an earlier one."""
    points = points.double()
    spread = (points - points.mean(0)).norm(dim=1).square().mean().sqrt()
    near = _distances(points) <= ALIKE * spread
    return points[~near.tril(-1).any(1)]


@torch.no_grad()
def states_of_layers(
    model: nn.Module,
    split: Split,
    batch_size: int,
    inputs_of: Callable[[Mapping[str, Tensor]], Mapping[str, Tensor]] = dict,
) -> list[Tensor]:
    """What enters each layer, and what leaves the last: (row, feature) each, means over tokens, of
    at most ROWS rows of the split; `inputs_of`: what a goal's model reads of a batch.
    """
    chosen = torch.randperm(len(split), generator=torch.Generator().manual_seed(0))[:ROWS]
    width = int(split.lengths[chosen].max())  # one for all: rows that repeat come out alike
    parts: list[list[Tensor]] = []
    with all_tokens():
        for rows in chosen.split(batch_size):
            batch = Batches.take(split, rows, width=width)
            inputs = side_by_side(model, inputs_of(batch), 1)
            base = getattr(model, "base_model", model)
            states = getattr(base(**inputs, output_hidden_states=True), "hidden_states", None)
            if states is None:
                raise QuestionError(f"{type(model).__name__} does not show its hidden states.")
            mask = inputs.get("attention_mask")
            if mask is None and "input_ids" in inputs:  # a decoder's rows come without
                mask = torch.arange(width) < split.lengths[rows][:, None]
                mask = mask.to(inputs["input_ids"].device)
            parts.append([_mean(one.float(), mask).cpu() for one in states])
    return [torch.cat(layer) for layer in zip(*parts, strict=True)]


def _mean(states: Tensor, mask: Tensor | None) -> Tensor:  # (row, token, feature), (row, token)
    """Over the tokens of each row that are no padding."""
    if mask is None:
        return states.mean(1)
    counted = mask[..., None].to(states.dtype)
    return (states * counted).sum(1) / counted.sum(1).clamp(min=1)


def _distances(points: Tensor) -> Tensor:  # (point, feature) -> (point, point)
    return torch.cdist(points, points, compute_mode="donot_use_mm_for_euclid_dist")
