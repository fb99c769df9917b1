"""cuts_of(): the smaller ranks that a trained adapter is cut down to, by arithmetic alone."""

from collections.abc import Callable
from typing import cast

from tenslora_search.spec.adapter import AdapterSpec
from tenslora_search.spec.structure import Ranks
from tenslora_search.study.limits import Limits

SHARES = (1 / 2, 1 / 4, 1 / 8)
"""Of an adapter's parameters."""


def cuts_of(adapter: AdapterSpec, limits: Limits) -> list[AdapterSpec]:
    """The adapter with a half, a quarter and an eighth of its parameters at most: no rank above the
    largest common one that keeps to it. None of those that break a limit, or cannot be cut down.
    """
    if not can_be_cut(adapter):
        return []
    found: list[AdapterSpec] = []
    for share in SHARES:
        one = _within(adapter, int(adapter.n_params * share))
        if one is not None and one not in found and limits.hold(one):
            found.append(one)
    return found


def can_be_cut(adapter: AdapterSpec) -> bool:
    """Whether what is trained is what is contracted, all of it, and a pair."""
    form = adapter.networks[0].form
    return not (form.make or form.dense or any(factor.frozen for factor in form.factors))


def _within(adapter: AdapterSpec, most: int) -> AdapterSpec | None:
    """With at most so many parameters; None where even ranks of 1 have more."""
    ranks = [rank for one in _tuples(adapter) for rank in one]
    low, high = 0, max(ranks, default=1)
    while high - low > 1:
        middle = (low + high) // 2
        if _capped(adapter, middle).n_params <= most:
            low = middle
        else:
            high = middle
    return _capped(adapter, low) if low else None


def _tuples(adapter: AdapterSpec) -> tuple[Ranks, ...]:
    ranks = adapter.ranks if adapter.is_per_copy else (adapter.ranks,)
    return cast("tuple[Ranks, ...]", ranks)


def _capped(adapter: AdapterSpec, most: int) -> AdapterSpec:
    clip: Callable[[Ranks], Ranks] = adapter.structure.clip
    ranks = [clip(tuple(min(rank, most) for rank in one)) for one in _tuples(adapter)]
    return AdapterSpec.over(
        adapter.structure,
        ranks if adapter.is_per_copy else ranks[0],
        scale=adapter.scale,
        alpha=adapter.alpha,
        head_layout=adapter.head_layout,
    )
