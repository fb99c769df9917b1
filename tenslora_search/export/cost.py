"""Cost: what is lost where an adapter is written in fewer ranks than it has."""

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
import torch
from torch import nn

from tenslora_search.data.batches import Batches, Split
from tenslora_search.data.goals import Goal
from tenslora_search.export.pairs import Pair, add_to_weights, module_pairs
from tenslora_search.nn.attach import Adapter

BATCH = 64


@dataclass(frozen=True, slots=True)
class Cost:
    """Of a compression: to what rank, how far the update moved, and the score on select before and
    after it.
    """

    rank: int
    distance: float
    """||whole - compressed|| / ||whole||, Frobenius, over all maps"""
    before: float | None = None
    after: float | None = None
    """None where the data are not at hand, or the weights take no update"""

    def said(self, metric: str) -> str:
        """In one line."""
        moved = (
            f"compressed to rank {self.rank}: the update moved by {self.distance:.2%} of its norm"
        )
        if self.before is None or self.after is None:
            return f"{moved}; not scored here"
        return f"{moved}; {metric} on select {self.before:.4f} before, {self.after:.4f} after"


def cost_of(
    adapter: Adapter, pairs: Mapping[str, Pair], rank: int, goal: Goal, split: Split | None
) -> Cost:
    """Of `pairs` of that rank, padded perhaps, in place of the adapter. It is taken off its model,
    which has the pairs in its weights afterwards.
    """
    distance = _distance(module_pairs(adapter), pairs)
    if split is None:
        return Cost(rank, distance)
    model = adapter.model.eval()
    before = score(model, goal, split)
    add_to_weights(adapter, pairs)
    return Cost(rank, distance, before, score(model, goal, split))


@torch.no_grad()
def score(model: nn.Module, goal: Goal, split: Split) -> float:
    """The goal's score of one model on a split."""
    order = split.lengths.argsort(stable=True)
    parts = [
        goal.answers(model, Batches.take(split, rows), 1)[0].cpu() for rows in order.split(BATCH)
    ]
    answers = torch.cat(parts)[order.argsort()].numpy()
    return float(goal.score(answers, np.asarray(split.labels)))


def _distance(whole: Mapping[str, Pair], pairs: Mapping[str, Pair]) -> float:
    moved = norm = 0.0
    for name, (a, b) in whole.items():
        update = a.double() @ b.double()
        less, right = pairs[name]
        moved += float((update - less.double() @ right.double()).square().sum())
        norm += float(update.square().sum())
    return (moved / norm) ** 0.5 if norm else 0.0
