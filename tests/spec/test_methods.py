"""METHODS: points of the whole grid; the row with most in common names a trial."""

import pytest

from tenslora_search.spec.adapter import AdapterSpec
from tenslora_search.spec.allocators import ALLOCATORS
from tenslora_search.spec.constructions import CONSTRUCTIONS
from tenslora_search.spec.decompositions import DECOMPOSITIONS
from tenslora_search.spec.geometry import Geometry
from tenslora_search.spec.maps import MAPS
from tenslora_search.spec.methods import METHODS, USUAL, find_method
from tenslora_search.spec.rules import RULES
from tenslora_search.spec.sites import SITES
from tenslora_search.spec.structure import Structure
from tenslora_search.spec.table import QuestionError
from tenslora_search.spec.trial import TrialSpec

BASE = Geometry.attention(hidden=768, heads=12, layers=12)


def test_methods_are_points_of_the_grid():
    for method in METHODS.values():
        assert method.construction in CONSTRUCTIONS
        assert method.decomposition in DECOMPOSITIONS
        assert method.map in MAPS
        assert method.rule in RULES
        assert method.allocator in ALLOCATORS
        assert not method.sites or method.sites in SITES
        assert method.note
        assert method.year >= 2021
    points = {(*method[:2], *method.choices.items()) for method in METHODS.values()}
    assert len(points) == len(METHODS)
    assert set(USUAL) == {"map", "rule", "allocator"}


def test_every_method_names_its_own_point():
    for name, method in METHODS.items():
        geometry = Geometry.attention(768, 12, 12, projections=SITES[method.sites or "qkv"].split())
        structure = Structure.of(*method[:2], geometry, after=method.map)
        adapter = AdapterSpec.over(structure, structure.clip([2] * len(structure.bonds)))
        trial = TrialSpec(adapter, 1e-3, 1e-3, rule=method.rule, allocator=method.allocator)
        assert trial.method == name


@pytest.mark.parametrize(
    ("words", "options", "rule", "name"),
    [
        (("none", "cp", (8,)), {}, "plain", "LoRA"),
        (("none", "tensor_train", (8,)), {}, "lora_plus", "LoRA+"),
        (("none", "cp", (8,)), {"after": "sinter"}, "lora_plus", "LoRA+, sinter"),
        (("qkv_depth", "tucker", (8, 8, 3, 8)), {}, "lora_plus", "TensLoRA qkv_depth, lora_plus"),
        (("qkv", "cp", (8,)), {"after": "sinter"}, "plain", "qkv x cp, sinter"),
    ],
)
def test_what_the_row_leaves_unsaid_is_said(words, options, rule, name):
    adapter = AdapterSpec.of(*words, BASE, **options)
    assert TrialSpec(adapter, 1e-3, 1e-3, rule=rule).method == name


@pytest.mark.parametrize("said", ["SoRA", "sora", "SORA"])
def test_a_method_is_found_in_whatever_case(said):
    assert find_method(said) is METHODS["SoRA"]


@pytest.mark.parametrize(
    ("said", "nearest"), [("nblora", " Did you mean 'NB-LoRA'?"), ("zzzzzz", "")]
)
def test_a_wrong_method_is_told_with_the_nearest(said, nearest):
    with pytest.raises(QuestionError) as error:
        find_method(said)
    assert str(error.value).startswith(f"no method named {said!r}.{nearest} Known: LoRA, ")
