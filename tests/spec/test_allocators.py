"""ALLOCATORS: within the size, within the caps, deterministic; `proportional` stops only when
nothing can grow.
"""

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tenslora_search.spec.adapter import AdapterSpec
from tenslora_search.spec.allocators import (
    ALLOCATORS,
    Measured,
    gelora,
    gradient,
    level,
    proportional,
    ramp,
)
from tenslora_search.spec.constructions import CONSTRUCTIONS
from tenslora_search.spec.geometry import Geometry
from tenslora_search.spec.structure import Structure
from tenslora_search.spec.table import NothingFitsError, QuestionError

BASE = Geometry.attention(hidden=768, heads=12, layers=12)
LORA = Structure.of("none", "cp", BASE)
NOTHING = Measured()


def measured(needs: str, structure: Structure, draw=lambda n: [1.0] * n) -> Measured:
    """An answer of the right length."""
    names, layers = structure.geometry.projections, structure.geometry.groups[0].layers
    n = {"": 0, "intrinsic_dimension": layers + 1, "gradient_energy": len(names) * layers}[needs]
    return Measured(tuple(draw(n)), names)


@pytest.mark.parametrize("allocator", ALLOCATORS)
@given(data=st.data())
@settings(max_examples=3, deadline=None)
def test_within_size_and_caps(data, allocator, construction, decomposition, geometries):
    """`AdapterSpec.over` refuses what is above a cap; the same question has the same answer."""
    structure = Structure.of(construction, decomposition, data.draw(geometries))
    size = structure.smallest + data.draw(st.integers(0, 2000))
    weights = data.draw(st.tuples(*[st.floats(0, 1)] * len(structure.bonds)))
    entry = ALLOCATORS[allocator]()
    found = measured(
        entry.needs,
        structure,
        lambda n: data.draw(st.lists(st.floats(0, 1e3), min_size=n, max_size=n)),
    )
    if not entry.can_divide(structure):
        with pytest.raises(QuestionError):
            entry.divide(structure, size, weights, found)
        return
    ranks = entry.divide(structure, size, weights, found)
    assert AdapterSpec.over(structure, ranks).n_params <= size
    assert ranks == entry.divide(structure, size, weights, found)


@pytest.mark.parametrize("allocator", ALLOCATORS)
def test_ones_where_nothing_else_fits(allocator):
    entry = ALLOCATORS[allocator]()
    ranks = entry.divide(LORA, 0, [0.5], measured(entry.needs, LORA))
    assert AdapterSpec.over(LORA, ranks).canonical().ranks == (1,)


@given(data=st.data())
@settings(max_examples=4, deadline=None)
def test_proportional_stops_when_no_bond_can_grow(data, construction, decomposition, geometries):
    structure = Structure.of(construction, decomposition, data.draw(geometries))
    weights = data.draw(st.tuples(*[st.floats(0.1, 10)] * len(structure.bonds)))
    budget = structure.smallest + data.draw(st.integers(0, 2000))
    ranks = proportional(structure, budget, weights)
    for place in range(len(ranks)):
        step = (*ranks[:place], ranks[place] + 1, *ranks[place + 1 :])
        assert structure.clip(step) != step or structure.count(step) > budget


def test_lora_at_the_budget():
    assert level().divide(LORA, 442_368, [0.5], NOTHING) == proportional(LORA, 442_368) == (8,)
    assert level().divide(LORA, 442_367, [0.5], NOTHING) == proportional(LORA, 442_367) == (7,)


def test_more_weight_more_rank():
    equal = proportional(Structure.of("none", "tucker", BASE), 300_000, (1, 3))
    assert equal[0] == equal[1]  # a rank above the other's is of no use to a matrix
    heavy = proportional(Structure.of("qkv_depth", "tucker", BASE), 100_000, (8, 1, 1, 1))
    assert heavy[0] > heavy[1]


def test_weights_decide_which_mode_gets_the_rank():
    structure = Structure.of("qkv_depth", "tucker", BASE)
    wide = level().divide(structure, 200_000, [1.0, 0.2, 0.5, 0.5], NOTHING)
    even = level().divide(structure, 200_000, [0.5, 0.5, 0.5, 0.5], NOTHING)
    assert wide[0] > even[0] == even[1] > wide[1]


def test_a_ramp_over_the_layers():
    """The last layer has `ratio` times the first's rank, each map has the same ramp, and little of
    the size is left.
    """
    ranks = [one for (one,) in ramp().divide(LORA, 442_368, [0.5], NOTHING)]
    layers = ranks[:12]
    assert ranks == layers * 3
    assert layers == sorted(layers)
    assert layers[-1] == pytest.approx(3 * layers[0], abs=1)
    assert sum(ranks) * 1536 > 0.95 * 442_368
    falling = [one for (one,) in ramp(ratio=1 / 3).divide(LORA, 442_368, [0.5], NOTHING)][:12]
    assert falling == sorted(falling, reverse=True)


def test_a_ramp_of_grouped_heads_and_of_single_layers():
    grouped = Geometry.attention(16, 4, 3, kv_heads=1)
    ranks = ramp(ratio=4.0).divide(Structure.of("none", "cp", grouped), 600, [0.5], NOTHING)
    assert [one[0] for one in ranks[:3]] == sorted(one[0] for one in ranks[:3])
    single = Structure.of("qkv", "tucker", Geometry.attention(16, 4, 1))
    assert len(ramp().divide(single, 600, [0.5] * 3, Measured())) == 1


def test_gelora_gives_more_rank_where_the_dimension_rises():
    """max(round d' - round d, 0) + 1 in proportion, the same for all maps of a layer."""
    dimensions = (4.2, 6.4, 6.3, 5.0, *[5.0] * 7, 6.6, 8.4)
    ranks = [one for (one,) in gelora().divide(LORA, 442_368, [0.5], Measured(dimensions))]
    layers = ranks[:12]
    assert ranks == layers * 3
    unit = layers[1]
    assert layers[1:10] == [unit] * 9
    gains = [3, *[1] * 9, 3, 2]
    assert layers == [pytest.approx(unit * gain, abs=1.5) for gain in gains]
    assert 0.9 * 442_368 < sum(ranks) * 1536 <= 442_368


def test_gradient_gives_rank_in_proportion_to_energy():
    """Map by map where each has its factors, else by the energies of a layer's maps together."""
    names = ("other", *LORA.geometry.projections)
    numbers = [100.0] * 12 + [float(place) for place in range(1, 37)]
    ranks = [
        one for (one,) in gradient().divide(LORA, 442_368, [0.5], Measured(tuple(numbers), names))
    ]
    assert ranks == sorted(ranks)
    assert ranks[35] == pytest.approx(2 * ranks[17], abs=1.5)
    qkv = Structure.of("qkv", "tucker", BASE)
    found = gradient().divide(qkv, 442_368, [0.5] * 3, Measured(tuple(numbers), names))
    assert len(found) == 12
    assert [one[0] for one in found] == sorted(one[0] for one in found)
    none = gradient().divide(LORA, 442_368, [0.5], Measured((0.0,) * 36, names[1:]))
    assert set(none) == {(8,)}


@pytest.mark.parametrize("construction", CONSTRUCTIONS)
def test_a_ramp_needs_factors_of_each_layer(construction):
    structure = Structure.of(construction, "cp", BASE)
    assert ramp().can_divide(structure) == ("layer" not in CONSTRUCTIONS[construction])
    assert level().can_divide(structure)


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (
            lambda: proportional(LORA, 10**6, (1, 2)),
            "there are 1 bonds of none x cp; got 2 weights",
        ),
        (lambda: proportional(LORA, 10**6, (-1,)), "weights are positive numbers; got -1"),
        (
            lambda: ramp().divide(Structure.of("depth", "cp", BASE), 10**6, [0.5], NOTHING),
            "depth x cp shares its factors over the layers",
        ),
        (
            lambda: gelora().divide(LORA, 10**6, [0.5], NOTHING),
            "allocator gelora takes its ranks from 13 numbers of the probe intrinsic_dimension; "
            "there are 0",
        ),
        (
            lambda: gradient().divide(
                LORA, 10**6, [0.5], Measured((1.0,), LORA.geometry.projections)
            ),
            "allocator gradient takes its ranks from 36 numbers of the probe gradient_energy",
        ),
        (lambda: ALLOCATORS["levle"], "Did you mean 'level'?"),
        (
            lambda: proportional(LORA, 55_295),
            "none x cp needs at least 55,296 parameters here; the budget is 55,295",
        ),
    ],
)
def test_refused(call, message):
    with pytest.raises(QuestionError) as error:
        call()
    assert message in str(error.value)
    assert isinstance(error.value, NothingFitsError) == ("needs at least" in message)


def test_growth_respects_every_group():
    """Grouped-query attention: the cap is that of the group that can use most."""
    structure = Structure.of("none", "cp", Geometry.attention(16, 4, 2, kv_heads=1))
    ranks = proportional(structure, 10**6)
    assert ranks == structure.caps(ranks) == (16,)


def test_i17_a_ramp_of_one_is_level():
    ranks = ramp(ratio=1.0).divide(LORA, 442_368, [0.5], NOTHING)
    assert set(ranks) == {level().divide(LORA, 442_368, [0.5], NOTHING)}
