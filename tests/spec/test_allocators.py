"""ALLOCATORS: within the budget, within the caps, deterministic; those that grow stop only when
nothing can grow.
"""

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tenslora_search.spec.adapter import AdapterSpec, bonds, caps, clip, count
from tenslora_search.spec.allocators import ALLOCATORS, linear, per_copy, proportional
from tenslora_search.spec.constructions import CONSTRUCTIONS
from tenslora_search.spec.geometry import Geometry
from tenslora_search.spec.table import NothingFitsError, QuestionError

BASE = Geometry.attention(hidden=768, heads=12, layers=12)
RAMPING = [name for name, axes in CONSTRUCTIONS.items() if "layer" not in axes]


def smallest(construction: str, decomposition: str, geometry: Geometry) -> int:
    return count(
        construction,
        decomposition,
        (1,) * len(bonds(construction, decomposition, geometry)),
        geometry,
    )


@pytest.mark.parametrize("allocator", ALLOCATORS)
@given(data=st.data())
@settings(max_examples=3, deadline=None)
def test_within_budget_and_caps(data, allocator, construction, decomposition, geometries):
    """`AdapterSpec.of` refuses what is above a cap; the same question has the same answer."""
    geometry = data.draw(geometries)
    budget = smallest(construction, decomposition, geometry) + data.draw(st.integers(0, 2000))
    if allocator == "linear" and construction not in RAMPING:
        with pytest.raises(QuestionError, match="ranks cannot ramp"):
            linear(construction, decomposition, geometry, budget)
        return
    ranks = ALLOCATORS[allocator](construction, decomposition, geometry, budget)
    assert AdapterSpec.of(construction, decomposition, ranks, geometry).n_params <= budget
    assert ranks == ALLOCATORS[allocator](construction, decomposition, geometry, budget)


@given(data=st.data())
@settings(max_examples=4, deadline=None)
def test_proportional_stops_when_no_bond_can_grow(data, construction, decomposition, geometries):
    geometry = data.draw(geometries)
    names = bonds(construction, decomposition, geometry)
    weights = data.draw(st.tuples(*[st.floats(0.1, 10)] * len(names)))
    budget = smallest(construction, decomposition, geometry) + data.draw(st.integers(0, 2000))
    ranks = proportional(construction, decomposition, geometry, budget, weights)
    for place in range(len(ranks)):
        step = (*ranks[:place], ranks[place] + 1, *ranks[place + 1 :])
        useful = clip(construction, decomposition, step, geometry) == step
        assert not useful or count(construction, decomposition, step, geometry) > budget


@given(data=st.data())
@settings(max_examples=3, deadline=None)
def test_copies_stop_when_none_can_step(data, construction, decomposition, geometries):
    """A copy steps on all its bonds at once, each as far as its cap."""
    geometry = data.draw(geometries)
    ones = AdapterSpec.of(
        construction,
        decomposition,
        (1,) * len(bonds(construction, decomposition, geometry)),
        geometry,
    )
    weights = data.draw(st.tuples(*[st.floats(0.1, 10)] * ones.n_copies))
    budget = ones.n_params + data.draw(st.integers(0, 2000))
    ranks = per_copy(construction, decomposition, geometry, budget, weights)
    rest = budget - AdapterSpec.of(construction, decomposition, ranks, geometry).n_params
    owners = [net for net in ones.networks for _ in range(net.copies)]
    for net, own in zip(owners, ranks, strict=True):
        cost = net.count(net.clip([rank + 1 for rank in own])) - net.count(own)
        assert cost <= 0 or cost > rest


def test_lora_at_the_budget():
    for allocator in ("uniform", "proportional"):
        assert ALLOCATORS[allocator]("none", "cp", BASE, 442_368) == (8,)
        assert ALLOCATORS[allocator]("none", "cp", BASE, 442_367) == (7,)
    assert set(per_copy("none", "cp", BASE, 442_368)) == {(8,)}


def test_more_weight_more_rank():
    equal = proportional("none", "tucker", BASE, 300_000, (1, 3))
    assert equal[0] == equal[1]  # a rank above the other's is of no use to a matrix
    heavy = proportional("qkv_depth", "tucker", BASE, 100_000, (8, 1, 1, 1))
    assert heavy[0] > heavy[1]


def test_linear_ramps_over_the_layers():
    ranks = [one for (one,) in linear("none", "cp", BASE, 300_000)]
    ramps = [ranks[12 * p : 12 * p + 12] for p in range(3)]
    assert all(ramp == sorted(ramp) and ramp[-1] >= 2.5 * ramp[0] for ramp in ramps)
    falling = [one for (one,) in linear("none", "cp", BASE, 300_000, (3, 1))][:12]
    assert falling == sorted(falling, reverse=True)


@pytest.mark.parametrize("allocator", ALLOCATORS)
def test_nothing_fits(allocator):
    with pytest.raises(
        NothingFitsError,
        match="none x cp needs at least 55,296 parameters here; the budget is 55,295",
    ) as error:
        ALLOCATORS[allocator]("none", "cp", BASE, 55_295)
    assert error.value.exit_code == 3


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (
            lambda: proportional("none", "cp", BASE, 10**6, (1, 2)),
            "there are 1 bonds of cp over none; got 2 weights",
        ),
        (
            lambda: proportional("none", "cp", BASE, 10**6, (-1,)),
            "weights are positive numbers; got -1",
        ),
        (
            lambda: per_copy("qkv", "cp", BASE, 10**6, (1.0,)),
            "there are 12 copies of qkv; got 1 weights",
        ),
        (lambda: linear("depth", "cp", BASE, 10**6), "depth shares its factors over the layers"),
        (
            lambda: linear("none", "cp", BASE, 10**6, (1, 2, 3)),
            "linear takes two weights, of the first layer and of the last; got 3",
        ),
        (lambda: ALLOCATORS["unifrom"], "Did you mean 'uniform'?"),
    ],
)
def test_refused(call, message):
    with pytest.raises(QuestionError) as error:
        call()
    assert message in str(error.value)


def test_growth_respects_every_group():
    """Grouped-query attention: the cap is that of the group that can use most."""
    geometry = Geometry.attention(hidden=16, heads=4, layers=2, kv_heads=1)
    ranks = ALLOCATORS["uniform"]("none", "cp", geometry, 10**6)
    assert ranks == caps("none", "cp", ranks, geometry) == (16,)
