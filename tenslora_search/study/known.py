"""known_points(): the methods people know, as the first points of a search, at several sizes; which
of them a search owes to who named them, and which are what a report compares with.
"""

import math
from collections.abc import Iterable, Mapping
from typing import Any

from tenslora_search.runs.replay import Record
from tenslora_search.spec.knobs import Range
from tenslora_search.spec.methods import METHODS, USUAL
from tenslora_search.study.parameters import has, values_of
from tenslora_search.study.points import Space
from tenslora_search.study.sizes import reach

STEP = (math.sqrt(5) - 1) / 2
"""Multiples of the golden ratio, modulo 1, fall evenly between 0 and 1 however many there are."""
SMALLER = (1 / 4, 1 / 16)
"""Shares of the budget at which LoRA is tried too."""


def known_points(space: Space) -> list[dict[str, Any]]:
    """LoRA at the largest size and at smaller ones; the other known methods that the space holds,
    each at one size: together they cover the range of sizes evenly in its logarithm.
    """
    size = space.parameters["size"]
    most = size.high if isinstance(size, Range) else max(size.values)
    known = {name: point for name in METHODS if (point := _point_of(space, name))}
    lora = known.pop("LoRA", None)
    points = [
        {**point, "size": _spread(space, point, k * STEP % 1)}
        for k, point in enumerate(known.values(), start=1)
    ]
    if lora:
        smaller = [share for share in SMALLER if share < most and has(size, share)]
        least = [{**lora, "size": share} for share in smaller]
        points = [{**lora, "size": most}, *least[:1], *points, *least[1:]]
    return [{name: point[name] for name in space.searched} for point in points]


def owed(space: Space, points: Iterable[Mapping[str, Any]]) -> set[str]:
    """The keys of the first point of each method, where --methods named them one by one: each is
    tried at least once. Of methods of a space alone none.
    """
    first: dict[str, str] = {}
    for point in () if space.leaves_out else points:
        first.setdefault(point[space.kind], space.key(space.trial(point, 0)))
    return set(first.values())


def references(records: Mapping[int, Record]) -> set[int]:
    """The first LoRA and the first of another size: every report compares with them, so they always
    climb.
    """
    by_size: dict[int, int] = {}
    for one in records.values():
        if one.proposed.method == "LoRA" and one.state != "failed":
            by_size.setdefault(one.n_params, one.number)
    return set(list(by_size.values())[:2])


def _spread(space: Space, point: dict[str, Any], height: float) -> Any:
    """The size at a height between 0 and 1 of those that the point's structure can have."""
    size = space.parameters["size"]
    if not isinstance(size, Range):
        return values_of(size)[int(height * len(values_of(size)))]
    low, high = reach(space, point)
    return low ** (1 - height) * high**height


def _point_of(space: Space, name: str) -> dict[str, Any] | None:
    """The point of a known method, its other parameters as usual; None if it is not held."""
    if space.own:
        return {**space.usual, space.kind: name} if name in space.structures else None
    method = METHODS[name]
    wanted_pair = (method.construction, method.decomposition)
    pairs = [text for text, pair in space.structures.items() if pair == wanted_pair]
    point = {**space.usual, space.kind: pairs[0] if pairs else None}
    for key, wanted in method.choices.items():
        choice = values_of(space.parameters[key])
        if wanted in choice:
            point[key] = wanted
        elif wanted != USUAL.get(key):
            return None
    return point if pairs else None
