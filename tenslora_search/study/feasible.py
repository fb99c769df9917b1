"""Row: a structure of a space in numbers, for `--dry-run`."""

import math
import random
from collections.abc import Mapping
from typing import NamedTuple, cast

from tenslora_search.spec.adapter import AdapterSpec
from tenslora_search.spec.allocators import level_ranks
from tenslora_search.spec.budget import format_count
from tenslora_search.spec.sites import DEFAULT_SITES
from tenslora_search.spec.structure import Structure
from tenslora_search.study.limits import ANY, Limits

SAMPLES = 500
"""Rank tuples that are drawn for an estimate."""


class Row(NamedTuple):
    """One structure in numbers: its counts at rank 1 and at most within the budget, and about how
    many rank tuples fit.
    """

    construction: str
    decomposition: str
    smallest: int
    largest: int
    feasible: int
    is_estimate: bool
    sites: str = DEFAULT_SITES
    method: str = ""
    """of a space over methods"""


def row_of(structure: Structure, budget: int, sites: str, limits: Limits = ANY) -> Row:
    """Rank tuples that fit and keep to the limits: exact for one bond; else estimated by importance
    sampling from the log-uniform box.
    """
    n_bonds, smallest = len(structure.bonds), structure.smallest

    def make(size: int) -> AdapterSpec:
        return AdapterSpec.over(structure, level_ranks(structure, size, [0.5] * n_bonds))

    found = [limits.nearest(make, size, budget) for size in (1, budget)]
    least, most = (one or make(1) for one in found)
    what = (structure.construction, structure.decomposition, least.n_params, most.n_params)
    if n_bonds == 1:
        low, high = (cast(int, one.ranks[0]) for one in (least, most))
        return Row(*what, high - low + 1, False, sites)
    top: list[int] = []
    for place, limit in enumerate(structure.limits):
        # The count grows with each rank at least as from 1 to 2, so this is the most that fits
        # beside ones; 0 where ones are the cap.
        step = structure.count(tuple(1 + (place == k) for k in range(n_bonds))) - smallest
        top.append(min(limit, 1 + (budget - smallest) // step) if step else limit)
    generator, total = random.Random(0), 0.0
    for _ in range(SAMPLES):
        ranks = tuple(min(limit, int((limit + 1) ** generator.random())) for limit in top)
        is_within = limits.min_params <= structure.count(ranks) <= budget
        if is_within and structure.clip(ranks) == ranks and _keeps(structure, ranks, limits):
            total += math.prod(
                math.log(limit + 1) / math.log1p(1 / rank)
                for rank, limit in zip(ranks, top, strict=True)
            )
    return Row(*what, max(1, round(total / SAMPLES)), True, sites)


def _keeps(structure: Structure, ranks: tuple[int, ...], limits: Limits) -> bool:
    return limits == ANY or limits.is_narrow_enough(AdapterSpec.over(structure, ranks))


def nothing_fits(
    structures: Mapping[str, tuple[str, str]], smallest: Mapping[str, int], budget: int
) -> str:
    """The line that says so, of structures by their text and the least that each needs."""
    least: dict[str, tuple[int, str]] = {}
    for text, size in smallest.items():
        construction = structures[text][0]
        found = size, text
        least[construction] = min(least.get(construction, found), found)
    parts = [f"{text} {format_count(size)}" for size, text in least.values()]
    return (
        f"nothing fits {format_count(budget)} parameters; the smallest of each construction: "
        f"{', '.join(parts)}."
    )
