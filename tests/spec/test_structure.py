"""Structure: bonds, caps and clipping over whole tables; what is said of it and refused."""

import pickle

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tenslora_search.spec.adapter import AdapterSpec
from tenslora_search.spec.geometry import Geometry
from tenslora_search.spec.network import network
from tenslora_search.spec.structure import Structure
from tenslora_search.spec.table import QuestionError

BASE = Geometry.attention(hidden=768, heads=12, layers=12)


def within(ranks, caps) -> bool:
    return all(rank <= cap for rank, cap in zip(ranks, caps, strict=True))


@pytest.mark.parametrize(
    ("construction", "decomposition", "names"),
    [
        ("none", "cp", ("r",)),
        ("att_qkv", "tucker", ("r_input", "r_head_dim", "r_head", "r_projection")),
        ("att_depth", "tucker2", ("r_input", "r_head_dim")),
        ("qkv_depth", "tensor_train", ("r_1", "r_2", "r_3")),
        ("qkv", "tensor_ring", ("r_1", "r_2", "r_ring")),
        ("none", "block_term", ("r_input", "r_output", "blocks")),
        ("depth", "tensorised_tt", ("r_1", "r_2", "r_3", "r_4")),
    ],
)
def test_bonds(construction, decomposition, names):
    assert Structure.of(construction, decomposition, BASE).bonds == names


@given(data=st.data())
@settings(max_examples=12, deadline=None)
def test_clip_lowers_to_the_caps_and_no_further(data, construction, decomposition, geometries):
    geometry = data.draw(geometries)
    structure = Structure.of(construction, decomposition, geometry)
    wanted = data.draw(st.tuples(*[st.integers(1, 40)] * len(structure.bonds)))
    clipped = structure.clip(wanted)
    assert all(1 <= low <= high for low, high in zip(clipped, wanted, strict=True))
    assert structure.clip(clipped) == clipped
    assert within(clipped, structure.caps(clipped))
    if within(wanted, structure.caps(wanted)):
        assert clipped == wanted or len(geometry.groups) > 1
    assert within(clipped, structure.limits)
    spec = AdapterSpec.over(structure, clipped)
    assert (
        spec.n_params
        == sum(spec.factor_counts.values())
        == sum(
            net.count(ranks)
            for net, copies in zip(spec.networks, spec.copy_ranks, strict=True)
            for ranks in copies
        )
    )


def test_caps_of_lora_and_tucker():
    assert Structure.of("none", "cp", BASE).caps((1,)) == (768,)
    assert Structure.of("qkv", "tucker", BASE).caps((8, 8, 3)) == (24, 24, 3)
    assert Structure.of("att_qkv_depth", "tucker", BASE).limits == (768, 64, 12, 3, 12)


def test_a_ring_of_two_cores_has_one_limit():
    """Its two bonds make one pair, whose rank is their product."""
    assert Structure.of("none", "tensor_ring", BASE).caps((100, 3)) == (768, 7)
    assert Structure.of("none", "tensor_ring", BASE).limits == (768, 768)
    assert Structure.of("none", "tensor_ring", Geometry.attention(12, 3, 1)).clip((4, 4)) == (4, 3)


def test_a_structure_is_a_value():
    """Equal ones are one key; it goes to another process and comes back."""
    one, other = (Structure.of("depth", "tucker2", BASE, after="sinter") for _ in range(2))
    assert one == other
    assert len({one, other, Structure.of("depth", "tucker2", BASE)}) == 2
    assert pickle.loads(pickle.dumps(one)) == one


def test_in_words_what_is_not_the_default():
    assert str(Structure.of("depth", "tucker2", BASE)) == "depth x tucker2"
    mapped = Structure.of("none", "cp", BASE, after={"name": "sinter", "amplitude": 1e-4})
    assert str(mapped) == "none x cp, sinter(amplitude=0.0001, frequency=10000)"


def test_the_map_changes_neither_ranks_nor_count():
    one, mapped = (Structure.of("qkv", "tucker", BASE, after=name) for name in ("as_is", "sinter"))
    assert (one.bonds, one.limits, one.smallest) == (mapped.bonds, mapped.limits, mapped.smallest)
    assert dict(mapped.after.options) == {"amplitude": 5e-5, "frequency": 1e4}
    assert AdapterSpec.over(one, (1, 1, 1)).is_low_rank
    assert not AdapterSpec.over(mapped, (1, 1, 1)).is_low_rank


@pytest.mark.parametrize(
    ("words", "options", "message"),
    [
        (("qkv_dept", "cp"), {}, "no construction named 'qkv_dept'"),
        (("qkv", "cpp"), {}, "no decomposition named 'cpp'"),
        (("qkv", "cp"), {"after": "sintr"}, "no map named 'sintr'. Did you mean 'sinter'?"),
        (("qkv", "cp"), {"options": {"xi": 1.0}}, "decomposition cp: no knob named 'xi'"),
        (
            ("qkv", "cp"),
            {"after": {"name": "sinter", "amplitude": 1.0}},
            "map sinter.amplitude is between 1e-06 and 0.001; got 1",
        ),
    ],
)
def test_refused(words, options, message):
    with pytest.raises(QuestionError) as error:
        Structure.of(*words, BASE, **options)
    assert message in str(error.value)


@pytest.mark.parametrize(
    ("entry", "words"),
    [
        (lambda modes: modes[9], "fails over the modes input output: IndexError"),
        (lambda modes: 3, "gives '3' instead of a Form"),
    ],
)
def test_a_decomposition_that_fails_is_one_line(entry, words):
    """A user's own, perhaps: neither a traceback nor exit code 1."""
    group = Geometry.attention(hidden=8, heads=2, layers=1).groups[0]
    with pytest.raises(QuestionError, match=words):
        network("input output", entry, (), group)
