"""cut(): shares by stratum, groups in one piece, the same for the same seed."""

import numpy as np
import pytest

from tenslora_search.data.goals import Numbers
from tenslora_search.data.splits import cut, held_out_size


def test_held_out_size():
    assert [held_out_size(n) for n in (100_000, 10_000, 1_000, 500, 10)] == [
        2_000,
        1_500,
        200,
        150,
        3,
    ]


def test_each_class_gives_its_share():
    strata = np.repeat([0, 1, 2], [700, 200, 100])
    taken = cut(np.arange(1000), strata, 150, np.random.default_rng(0))
    assert np.bincount(strata[taken]).tolist() == [105, 30, 15]


def test_the_seed_decides():
    strata = np.arange(200) % 2
    once, again, other = (
        cut(np.arange(200), strata, 40, np.random.default_rng(seed)) for seed in (3, 3, 4)
    )
    assert (once == again).all()
    assert (once != other).any()


@pytest.mark.parametrize("seed", range(5))
def test_groups_stay_together_and_every_class_on_both_sides(seed):
    generator = np.random.default_rng(seed)
    groups = np.unique(generator.integers(0, 60, 200), return_inverse=True)[1]
    strata = (groups % 5 == 0).astype(int)
    taken = cut(groups, strata, 30, generator)
    assert not set(groups[taken]) & set(groups[~taken])
    assert set(strata[taken]) == set(strata[~taken]) == {0, 1}
    assert taken.sum() <= 45


def test_a_class_of_one_group_is_not_cut():
    strata = np.array([0] * 20 + [1] * 5)
    groups = np.array([*range(20), *[20] * 5])
    assert not cut(groups, strata, 6, np.random.default_rng(0))[20:].any()


def test_numbers_are_cut_from_low_to_high():
    scores = np.random.default_rng(0).normal(size=1000)
    taken = cut(np.arange(1000), Numbers.strata(scores), 100, np.random.default_rng(1))
    lowest, highest = np.argsort(scores)[:100], np.argsort(scores)[-100:]
    assert taken[lowest].sum() == taken[highest].sum() == 10
