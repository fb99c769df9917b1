"""Network: what follows from the names of factors, and that a decomposition added anywhere is
picked up everywhere.
"""

import math

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tenslora_search.spec.adapter import AdapterSpec
from tenslora_search.spec.constructions import CONSTRUCTIONS
from tenslora_search.spec.decompositions import DECOMPOSITIONS
from tenslora_search.spec.form import Axis, Factor, Form, bond
from tenslora_search.spec.geometry import Geometry
from tenslora_search.spec.network import Network
from tenslora_search.spec.structure import Structure
from tenslora_search.spec.table import QuestionError

BASE = Geometry.attention(hidden=768, heads=12, layers=12)
MODES = tuple(
    Axis(name, size)
    for name, size in {"input": 12, "head_dim": 4, "head": 3, "projection": 3, "layer": 2}.items()
)


@pytest.mark.parametrize("construction", CONSTRUCTIONS)
def test_copies_are_the_axes_left_out(construction):
    (net,) = Structure.of(construction, "cp", BASE).networks
    assert net.copies == math.prod(
        size
        for axis, size in {"projection": 3, "layer": 12}.items()
        if axis not in CONSTRUCTIONS[construction]
    )


def test_the_parts_of_a_mode_make_the_mode(decomposition):
    factors = DECOMPOSITIONS[decomposition](MODES).factors
    for factor in factors:
        assert set(factor.fan) <= {axis.name for axis in factor.axes}
    axes = {axis for factor in factors for axis in factor.axes if not axis.is_bond}
    for mode in MODES:
        assert math.prod(axis.size or 1 for axis in axes if axis.mode == mode.name) == mode.size


@given(data=st.data())
@settings(max_examples=6, deadline=None)
def test_the_cut_is_the_smallest(data, construction, decomposition, geometries, ranks_of):
    """The pair's rank is no larger than any bond set that parts input from output could give, on
    either side of a core.
    """
    geometry = data.draw(geometries)
    ranks = ranks_of(data.draw, construction, decomposition, geometry)
    for net in AdapterSpec.of(construction, decomposition, ranks, geometry).networks:
        own = net.clip(ranks)
        cut, sizes = net.cut(own), net.sizes(own)
        assert sorted(cut.left + cut.right) == list(range(len(net.factors)))
        for side in (cut.left, cut.right):
            inside = {a.name for k in side for a in net.factors[k].axes if a.is_bond}
            assert set(cut.bonds) <= inside
        ends = [
            math.prod(sizes[a.name] for a in factor.axes if a.is_bond)
            for factor in net.factors
            if any(a.mode == "input" for a in factor.axes)
            and all(a.mode == "input" or a.is_bond for a in factor.axes)
        ]
        if len(ends) == 1:
            assert net.slice_rank(own) <= ends[0]


@pytest.mark.parametrize(
    ("construction", "decomposition", "ranks", "rank"),
    [
        ("none", "cp", (8,), 8),
        ("qkv_depth", "tucker", (59, 40, 3, 12), 40),
        ("att_qkv_depth", "tucker", (52, 8, 12, 3, 12), 52),
        ("att", "tucker", (60, 4, 12), 48),
        ("depth", "tensor_train", (9, 5), 5),
        ("qkv", "tensor_ring", (4, 3, 2), 6),
        ("qkv", "block_term", (4, 3, 2, 5), 15),
        ("none", "tensorised_tt", (9, 4, 9), 4),
    ],
)
def test_slice_rank(construction, decomposition, ranks, rank):
    (net,) = Structure.of(construction, decomposition, BASE).networks
    assert net.slice_rank(ranks) == rank


def gated(modes):
    """Tucker with a diagonal of its own."""
    gate = bond("r")
    sides = (Factor(m.name, (m, gate), "uniform", (m.name,)) for m in modes)
    return Form((*sides, Factor("gate", (gate,))))


def bounded(modes):
    """Two factors made of one matrix that is trained, beside a frozen one: as a bound might be."""
    r = bond("r")
    trained = (
        Factor("free", (r, r), "zero"),
        Factor("fixed", (modes[0], r), "orthonormal", ("input",), frozen=True),
        *(Factor(m.name, (m, r), "normal") for m in modes[1:]),
    )
    factors = tuple(Factor(m.name, (m, r), "normal") for m in modes)
    return Form(
        factors,
        trained,
        make=lambda made: made,
        first_step=lambda sizes: 0.5 * sizes["input"] * sizes["r"],
    )


def test_a_new_decomposition_needs_one_entry(monkeypatch):
    """Listed in the table, it is counted, named, capped and cut."""
    monkeypatch.setitem(DECOMPOSITIONS._entries, "gated", gated)
    structure = Structure.of("qkv", "gated", BASE)
    assert structure.bonds == ("r",)
    assert structure.count((4,)) == 12 * 4 * (768 + 768 + 3 + 1)
    spec = AdapterSpec.over(structure, (4,))
    assert spec.slice_rank == 4
    assert spec.method == "qkv x gated"
    assert spec.canonical() == spec


def test_what_is_trained_is_counted_and_what_is_contracted_is_cut(monkeypatch):
    monkeypatch.setitem(DECOMPOSITIONS._entries, "bounded", bounded)
    structure = Structure.of("none", "bounded", BASE)
    assert structure.limits == (768,)
    spec = AdapterSpec.over(structure, (4,))
    assert spec.factor_counts == {"free": 36 * 16, "output": 36 * 768 * 4}
    assert spec.n_params == structure.count((4,)) == sum(spec.factor_counts.values())
    assert spec.slice_rank == 4
    assert spec.networks[0].first_step((4,)) == 0.5 * 768 * 4
    assert spec.canonical() == spec


def test_the_first_step_of_frozen_factors_follows_from_their_starts():
    """A frozen factor keeps the size it starts with, which is all that the first step asks for."""
    free, fixed = (
        Form((Factor("input", (MODES[0], r), "uniform", ("input",), is_fixed), Factor("b", (r, o))))
        for is_fixed in (False, True)
        for r, o in [(bond("r"), Axis("output", 12))]
    )
    group = Geometry.attention(12, 3, 2).groups[0]
    one, other = Network(group, free), Network(group, fixed)
    assert one.first_step((3,)) == other.first_step((3,)) > 0
    assert (one.count((3,)), other.count((3,))) == (72, 36)


def test_a_form_that_bounds_itself_has_no_scale(monkeypatch):
    def own(modes):
        """It bounds itself."""
        return Form(gated(modes).factors, scaled=False)

    monkeypatch.setitem(DECOMPOSITIONS._entries, "own", own)
    spec = AdapterSpec.of("none", "own", (2,), BASE, alpha=16, scale="alpha")
    assert set(spec.scales(0)) == {1.0}
    assert spec.canonical() == AdapterSpec.of("none", "own", (2,), BASE)


R, LEFT, RIGHT = bond("r"), Axis("input", 4), Axis("output", 4)
SIDE, ZERO = Factor("a", (LEFT, R), "normal"), Factor("b", (R, RIGHT))


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({"factors": (SIDE, Factor("b", (R, RIGHT), "normal"))}, "exactly one factor starts"),
        ({"factors": (Factor("a", (LEFT, R)), ZERO)}, "exactly one factor starts at zero"),
        ({"factors": (SIDE, Factor("a", (R, RIGHT)))}, "two factors have one name"),
        ({"factors": (SIDE, Factor("b", (R, RIGHT), frozen=True))}, "b is frozen at zero"),
        ({"factors": (Factor("a", (LEFT, R), "nromal"), ZERO)}, "Did you mean 'normal'"),
        ({"factors": (Factor("a", (LEFT, RIGHT)),)}, "both the input and the output"),
        ({"factors": (SIDE, Factor("b", (bond("s"), RIGHT)))}, "bond r of a joins no other"),
        ({"factors": (SIDE, ZERO), "trained": (ZERO,)}, "given together or not at all"),
        (
            {"factors": (SIDE, ZERO), "trained": (ZERO,), "make": lambda made: made},
            "give first_step",
        ),
        (
            {
                "factors": (SIDE, ZERO),
                "trained": (Factor("c", (bond("s"), LEFT)),),
                "make": lambda made: made,
            },
            "bond s of c is none of the contracted factors",
        ),
        (
            {"factors": (SIDE, Factor("b", (R, RIGHT), "ones")), "starts_at_zero": "it does"},
            "give first_step",
        ),
    ],
)
def test_a_form_that_cannot_be_trained_is_refused(fields, message):
    with pytest.raises(QuestionError, match="this form is not well formed") as error:
        Form(**fields)
    assert message in str(error.value)
