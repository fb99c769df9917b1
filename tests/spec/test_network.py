"""Network: what follows from the names of factors, and that a decomposition added anywhere is
picked up everywhere.
"""

import math

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tenslora_search.spec.adapter import AdapterSpec, bonds, count
from tenslora_search.spec.constructions import CONSTRUCTIONS
from tenslora_search.spec.decompositions import DECOMPOSITIONS, Axis, Factor
from tenslora_search.spec.geometry import Geometry
from tenslora_search.spec.network import network

BASE = Geometry.attention(hidden=768, heads=12, layers=12)
MODES = tuple(
    Axis(name, size)
    for name, size in {"input": 12, "head_dim": 4, "head": 3, "projection": 3, "layer": 2}.items()
)


@pytest.mark.parametrize("construction", CONSTRUCTIONS)
def test_copies_are_the_axes_left_out(construction):
    net = network(construction, "cp", BASE.groups[0])
    assert net.copies == math.prod(
        size
        for axis, size in {"projection": 3, "layer": 12}.items()
        if axis not in CONSTRUCTIONS[construction]
    )


def test_factors_are_well_formed(decomposition):
    """One factor starts at zero; names are unique; each bond joins two factors or more; input and
    output never meet.
    """
    factors = DECOMPOSITIONS[decomposition](MODES)
    assert [factor.start for factor in factors].count("zero") == 1
    assert len({factor.name for factor in factors}) == len(factors)
    carried = [axis.name for factor in factors for axis in factor.axes if axis.is_bond]
    assert all(carried.count(name) > 1 for name in carried)
    for factor in factors:
        modes = {axis.mode for axis in factor.axes}
        assert not ("input" in modes and modes & {"output", "head", "head_dim"})
        assert set(factor.fan) <= {axis.name for axis in factor.axes}
    sizes = {
        mode.name: math.prod(
            a.size or 1 for f in factors for a in f.axes if a.mode == mode.name and a.size
        )
        for mode in MODES
    }
    assert sizes == {mode.name: mode.size for mode in MODES}


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
    assert network(construction, decomposition, BASE.groups[0]).slice_rank(ranks) == rank


def test_a_new_decomposition_needs_one_entry(monkeypatch):
    """Tucker with a diagonal of its own: listed in the table, it is counted, named, capped and
    cut."""

    def gated(modes):
        gate = Axis("r")
        return (
            *(Factor(m.name, (m, gate), "uniform", (m.name,)) for m in modes),
            Factor("gate", (gate,)),
        )

    monkeypatch.setitem(DECOMPOSITIONS._entries, "gated", gated)
    assert bonds("qkv", "gated", BASE) == ("r",)
    assert count("qkv", "gated", (4,), BASE) == 12 * 4 * (768 + 768 + 3 + 1)
    spec = AdapterSpec.of("qkv", "gated", (4,), BASE)
    assert spec.slice_rank == 4
    assert spec.method == "qkv x gated"
    assert spec.canonical() == spec
    network.cache_clear()
