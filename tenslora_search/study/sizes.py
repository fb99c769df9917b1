"""Sizes that a point's structure can have, as shares of the budget."""

import math
import random
from collections.abc import Mapping
from typing import Any

from tenslora_search.spec.knobs import Range
from tenslora_search.study.points import Space

Point = Mapping[str, Any]
SLACK = 1.5
"""A structure whose largest member is so much smaller than a size cannot fill it; else it is but
for its coarse steps.
"""


def least(space: Space, point: Point) -> float:
    """The share of the budget that the smallest member of a point's structure has."""
    text = point[space.kind]
    sites = space.values(text, point)["sites"]
    return space.structure(text, sites, point).smallest / space.budget


def reach(space: Space, point: Point) -> tuple[float, float]:
    """The smallest and the largest size that a point's structure can have with its weights."""
    size = space.parameters["size"]
    assert isinstance(size, Range)
    low, high = (
        space.trial({**point, "size": end}, 0).adapter.n_params / space.budget
        for end in (size.low, size.high)
    )
    return min(size.high, max(size.low, low)), min(size.high, max(size.low, high))


def settled(space: Space, point: Point, generator: random.Random) -> dict[str, Any]:
    """The point; where its structure cannot have its size, with another one, drawn anew,
    log-uniform, from those that it can have.
    """
    size = space.parameters["size"]
    if not isinstance(size, Range):
        return dict(point)
    own = space.trial(point, 0).adapter.n_params / space.budget
    if own <= point["size"] <= own * SLACK:
        return dict(point)  # what has nearly its size has it in reach
    low, high = reach(space, point)
    if low >= high or low * (1 - 1e-9) <= point["size"] <= high * SLACK:
        return dict(point)
    drawn = math.exp(generator.uniform(math.log(low), math.log(high)))
    return {**point, "size": min(size.high, max(size.low, drawn))}
