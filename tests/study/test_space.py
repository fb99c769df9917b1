"""Every point of every space is within the budget; wrong spaces are one line each."""

import operator
import random
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tenslora_search.spec.adapter import AdapterSpec
from tenslora_search.spec.allocators import level
from tenslora_search.spec.constructions import CONSTRUCTIONS
from tenslora_search.spec.decompositions import DECOMPOSITIONS
from tenslora_search.spec.geometry import Geometry
from tenslora_search.spec.structure import Structure
from tenslora_search.spec.table import NothingFitsError, QuestionError
from tenslora_search.study.space import (
    ROLES,
    SearchSpace,
    about_spaces,
    bond_roles,
    space_files,
)

PLAIN = Geometry.attention(32, 4, 3)
GROUPED = Geometry.attention(32, 4, 3, kv_heads=2)
FREE = {"structure": "none x cp"}


@pytest.mark.parametrize("geometry", [PLAIN, GROUPED], ids=["plain", "grouped"])
@pytest.mark.parametrize("decomposition", list(DECOMPOSITIONS))
@pytest.mark.parametrize("construction", list(CONSTRUCTIONS))
def test_filled_ranks_fit_and_are_not_dead(construction, decomposition, geometry):
    generator = random.Random(0)
    structure = Structure.of(construction, decomposition, geometry)
    for _ in range(20):
        size = int(structure.smallest * generator.uniform(1, 30))
        weights = [generator.random() for _ in bond_roles(structure)]
        ranks = level().divide(structure, size, weights)
        assert structure.count(ranks) <= size
        assert all(map(operator.le, ranks, structure.caps(ranks)))


@settings(max_examples=60, deadline=None)
@given(st.integers(200, 60_000), st.integers(0, 10_000), st.sampled_from(sorted(space_files())))
def test_no_point_of_a_packaged_space_is_over_the_budget(budget, seed, name):
    try:
        space = SearchSpace.load(name, PLAIN, budget)
    except NothingFitsError:
        return
    generator = random.Random(seed)
    for point in [*space.seeds(), *(space.nudged(FREE, generator, 2) for _ in range(10))]:
        trial = space.trial(point, seed)
        assert trial.adapter.n_params <= budget
        assert trial.adapter == trial.adapter.canonical()


def test_the_first_seed_is_lora_at_the_budget():
    space = SearchSpace.load("default", Geometry.attention(768, 12, 12), 300_000)
    first = space.trial(space.seeds()[0], 0).adapter
    assert (first.method, first.ranks, first.n_params) == ("LoRA", (5,), 276_480)
    methods = {space.trial(point, 0).adapter.method for point in space.seeds()}
    assert {"LoRA", "LoTR", "FacT-TT", "LoRTA", "MetaTT", "TensLoRA qkv_depth"} <= methods


def test_equal_trials_have_equal_keys_whatever_their_seed():
    space = SearchSpace.load("default", PLAIN, 5_000)
    point = space.seeds()[0]
    assert space.key(space.trial(point, 1)) == space.key(space.trial(point, 2))
    other = {**point, "learning_rate": point["learning_rate"] * 2}
    assert space.key(space.trial(other, 1)) != space.key(space.trial(point, 1))


def test_the_table_is_exact_where_it_says_so():
    rows = SearchSpace.load("default", PLAIN, 4_000).table()
    assert {(row.construction, row.decomposition) for row in rows} <= {
        (c, d) for c in CONSTRUCTIONS for d in DECOMPOSITIONS
    }
    for row in rows:
        what = (row.construction, row.decomposition)
        assert row.smallest <= row.largest <= 4_000
        if not row.is_estimate:
            fitting = [rank for rank in range(1, 500) if _fits(*what, rank, 4_000)]
            assert row.feasible == len(fitting)


def test_the_estimate_is_near_the_count_of_all():
    (row,) = [
        row
        for row in SearchSpace.load("default", PLAIN, 4_000).table()
        if row[:2] == ("depth", "tucker")
    ]
    every = [(i, o, n) for i in range(1, 33) for o in range(1, 33) for n in range(1, 4)]
    exact = sum(_fits("depth", "tucker", ranks, 4_000) for ranks in every)
    assert row.feasible == pytest.approx(exact, rel=0.3)


def _fits(construction, decomposition, ranks, budget) -> bool:
    ranks = (ranks,) if isinstance(ranks, int) else ranks
    try:
        return AdapterSpec.of(construction, decomposition, ranks, PLAIN).n_params <= budget
    except QuestionError:
        return False


def test_nothing_fits_says_the_smallest_of_each_construction():
    with pytest.raises(NothingFitsError) as error:
        SearchSpace.load("default", Geometry.attention(768, 12, 12), 500)
    assert error.value.exit_code == 3
    assert all(name in str(error.value) for name in CONSTRUCTIONS)
    assert "859" in str(error.value)


WRONG = {
    'decompositoin = ["cp"]': "Did you mean 'decomposition'",
    'decomposition = ["tuker"]': "Did you mean 'tucker'",
    'construction = ["qkv_dept"]': "Did you mean 'qkv_depth'",
    'structure = ["qkv_depth x tuker"]': "Did you mean 'tucker'",
    'scale = ["matchd"]': "Did you mean 'matched'",
    "learning_rate = { low = 1e-2, high = 1e-3 }": "low < high",
    "learning_rate = { low = 1e-2 }": "low and high",
    'learning_rate = ["fast"]': "numbers are above 0 (weight_decay may be 0); got 'fast'",
    "learning_rate = 0": "above 0 (weight_decay may be 0); got 0",
    "size = 0": "above 0 (weight_decay may be 0); got 0",
    "size = { low = 0, high = 1 }": "above 0 (weight_decay may be 0); got 0",
    "size = 2": "share of the budget, at most 1; got 2",
    "clip = -1.0": "above 0 (weight_decay may be 0); got -1.0",
    "clip = nan": "above 0 (weight_decay may be 0); got nan",
    "clip = inf": "above 0 (weight_decay may be 0); got inf",
    "weight_decay = { low = 0, high = 0.1 }": "a range needs 0 < low < high",
    "weight_decay = []": "the list is empty",
    'rule = "chian"': "no rule named 'chian'. Known: plain, lora_plus",
    "rule = 5": "rule is a list of names; got [5]",
    'scale = [["matched"]]': "scale is a list of names",
    "scale = []": "scale is a list of names",
    "structure = 5": "structure is a list of names; got 5",
    "structure = []": "structure is a list of names; got []",
    "structure = [5]": "structure is a list of names; got [5]",
    'structure = ["none"]': "no decomposition named ''",
    'construction = [["none"]]': "construction is a list of names",
    "size = { low = 0.1, high = 2.0 }": "share of the budget, at most 1; got 2",
    "decomposition = []": "list of names",
    "learning_rate = [": "cannot be read",
}


@pytest.mark.parametrize("text", list(WRONG))
def test_a_wrong_space_is_one_line(tmp_path, text):
    path = tmp_path / "mine.toml"
    path.write_text(text + "\n")
    with pytest.raises(QuestionError) as error:
        SearchSpace.load(str(path), PLAIN, 5_000)
    assert WRONG[text] in str(error.value)
    assert "\n" not in str(error.value)


@pytest.mark.parametrize(
    ("name", "hint"), [("defalt", "Did you mean 'default'"), ("spaces/none.toml", "no space file")]
)
def test_an_unknown_space_is_one_line(name, hint):
    with pytest.raises(QuestionError, match=hint):
        SearchSpace.load(name, PLAIN, 5_000)


def test_a_list_is_a_choice_and_a_table_a_range(tmp_path):
    path = tmp_path / "mine.toml"
    path.write_text(
        'construction = ["depth"]\ndecomposition = ["cp", "tucker"]\nrule = ["plain", '
        '"lora_plus"]\nweight_decay = 0\n'
        "learning_rate = [1e-3, 1e-2]\nsize = 1.0\n"
    )
    space = SearchSpace.load(path, PLAIN, 5_000)
    assert space.searched["learning_rate"].values == (1e-3, 1e-2)
    assert set(space.searched) == {"structure", "learning_rate", "rule", *ROLES}
    assert space.structures == (("depth", "cp"), ("depth", "tucker"))


def test_every_packaged_space_says_what_it_is():
    assert next(iter(space_files())) == "default"
    assert all(about_spaces().values())
    assert all(Path(file).read_text().startswith("#") for file in space_files().values())


def test_a_table_of_grouped_heads_counts_where_a_bond_alone_adds_nothing():
    rows = SearchSpace.load("default", GROUPED, 4_000).table()
    assert all(row.smallest <= row.largest <= 4_000 and row.feasible > 0 for row in rows)
