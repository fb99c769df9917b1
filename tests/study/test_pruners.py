"""Judges: pure functions of the standings. Each one prunes what it should, keeps the best, and
treats all alike.
"""

import random

import pytest

from tenslora_search.study.pruners import PRUNERS, Standing

ETA, N_RUNGS = 3, 3


def fresh(scores, n_params=1000):
    return [Standing(number, n_params, (score,)) for number, score in enumerate(scores)]


def complete(n: int, first: int, score: float = 0.5) -> list[Standing]:
    return [Standing(first + k, 1000, (score, score, score), is_complete=True) for k in range(n)]


def ended(n: int, first: int) -> list[Standing]:
    """Of several sizes; none scores more on the way than the best of twenty that are new."""
    generator = random.Random(first)
    early = [0.7 * generator.random() for _ in range(n)]
    return [
        Standing(first + k, 1000 * (1 + k % 3), (one, one, one + 0.05), is_complete=True)
        for k, one in enumerate(early)
    ]


@pytest.fixture(params=list(PRUNERS))
def judge(request):
    return PRUNERS[request.param](ETA, N_RUNGS)


def test_the_best_is_always_kept_and_only_those_who_stand_here_are_judged(judge):
    generator = random.Random(0)
    for _ in range(5):
        standings = [*fresh([generator.random() for _ in range(20)]), *ended(12, first=20)]
        kept = judge(standings, 0)
        best = max(range(20), key=lambda number: standings[number].scores[0])
        assert kept <= set(range(20))
        assert best in kept


def test_the_order_of_the_standings_does_not_matter(judge):
    generator = random.Random(1)
    standings = [*fresh([generator.random() for _ in range(20)]), *ended(12, first=20)]
    shuffled = random.Random(2).sample(standings, len(standings))
    assert judge(standings, 0) == judge(shuffled, 0)


def test_none_keeps_all():
    assert PRUNERS["none"](ETA, N_RUNGS)(fresh([0.1, 0.2, 0.9]), 0) == {0, 1, 2}


@pytest.mark.parametrize("rung", [0, 1])
def test_successive_halving_keeps_the_best_third(rung):
    judge = PRUNERS["successive_halving"](ETA, N_RUNGS)
    standings = [Standing(k, 1000, (k / 12,) * (rung + 1)) for k in range(12)]
    assert judge(standings, rung) == {8, 9, 10, 11}


def test_those_that_climbed_on_still_count_as_peers():
    judge = PRUNERS["successive_halving"](ETA, N_RUNGS)
    above = [Standing(k, 1000, (0.9, 0.9)) for k in range(9)]
    assert judge([*above, Standing(9, 1000, (0.5,))], 0) == set()
    assert judge([*above, Standing(9, 1000, (0.95,))], 0) == {9}


def test_hyperband_prunes_in_some_brackets_from_the_first_rung_and_in_some_never():
    judge = PRUNERS["hyperband"](ETA, N_RUNGS)
    standings = fresh([k / 60 for k in range(60)])
    kept = judge(standings, 0)
    assert 20 < len(kept) < 60
    assert any(number < 20 for number in kept)


@pytest.mark.parametrize("name", ["median", "percentile"])
def test_median_and_percentile_wait_for_complete_trials(name):
    judge = PRUNERS[name](ETA, N_RUNGS)
    assert judge(fresh([0.1, 0.9]), 0) == {0, 1}
    assert judge([*fresh([0.1, 0.9]), *complete(4, first=2)], 0) == {1}


def test_wilcoxon_prunes_who_trails_the_best_at_every_rung():
    judge = PRUNERS["wilcoxon"](ETA, N_RUNGS)
    behind, ahead = Standing(0, 1000, (0.1, 0.2)), Standing(1, 1000, (0.6, 0.7))
    assert judge([behind, ahead, *complete(1, first=2)], 1) == {1}


def climbed(n: int, noise: float, n_params: int = 1000, first: int = 0) -> list[Standing]:
    """Trials that were trained to the end, whose scores rise by .1 on the way, more or less."""
    generator = random.Random(0)
    early = [generator.uniform(0.4, 0.6) for _ in range(n)]
    late = [one + 0.1 + generator.gauss(0, noise) for one in early]
    return [
        Standing(first + k, n_params, (*pair, pair[1]), is_complete=True)
        for k, pair in enumerate(zip(early, late, strict=True))
    ]


def new(*about: tuple[int, float]) -> list[Standing]:
    return [Standing(100 + k, n_params, (score,)) for k, (n_params, score) in enumerate(about)]


front = PRUNERS["front"](ETA, N_RUNGS)


def test_front_lets_climb_whom_it_expects_to_beat_all_that_are_no_larger():
    """The best of the large ones has .7 at the end, of the small ones .5."""
    small = [Standing(50 + k, 100, (0.3, 0.4, 0.5), is_complete=True) for k in range(2)]
    told = [*climbed(20, 0.005), *small]
    assert front([*told, *new((2000, 0.62), (2000, 0.5), (200, 0.5), (200, 0.3))], 0) == {100, 102}


def test_front_lets_the_smallest_climb_however_poor():
    assert front([*climbed(20, 0.005), *new((10, 0.0), (2000, 0.0))], 0) == {100}


def test_front_prunes_less_where_a_rung_misleads():
    crowd = new(*((2000, 0.4 + k / 150) for k in range(30)))
    kept = [len(front([*climbed(20, noise), *crowd], 0)) for noise in (0.005, 0.02, 0.5)]
    assert 0 < kept[0] < kept[1] < kept[2] == 30


@pytest.mark.parametrize("early", [0.5, 0.509, 0.7])
def test_where_a_rung_tells_nothing_front_stops_nobody_whatever_the_size(early):
    """Scores of one value, of which a mean is not always that value."""
    told = [Standing(k, 10 ** (1 + k % 5), (early, 0, k / 20), is_complete=True) for k in range(12)]
    crowd = new(*((10 ** (1 + k % 5), early + 0.01 * (k % 2)) for k in range(20)))
    assert len(front([*told, *crowd], 0)) == 20
    assert len(front([*told, *new(*(6 * [(20, 0.0)]))], 0)) == 6


def test_failures_do_not_teach_front_that_a_rung_tells_much():
    """Among the good ones a rung says little; that the failed ones stay behind is no news."""
    failed = [Standing(50 + k, 1000, (0.0, 0.0, 0.0), is_complete=True) for k in range(20)]
    crowd = new(*((2000, 0.4 + k / 150) for k in range(30)))
    good = climbed(20, 0.5)
    assert len(front([*good, *failed, *crowd], 0)) >= len(front([*good, *crowd], 0)) > 15


def test_front_judges_losses_as_it_judges_shares():
    """Scores may be negative, and of any size."""
    told, crowd = climbed(20, 0.02), new(*((2000, 0.4 + k / 150) for k in range(30)))

    def moved(one: Standing) -> Standing:
        scores = tuple(300 * score - 2000 for score in one.scores)
        return Standing(one.number, one.n_params, scores, one.is_complete)

    kept = front([*told, *crowd], 0)
    assert 0 < len(kept) < 30
    assert front([moved(one) for one in (*told, *crowd)], 0) == kept


def test_until_eight_were_trained_to_the_end_front_prunes_nobody():
    crowd = new((2000, 0.0), (2000, 0.1))
    assert front([*climbed(7, 0.01), *crowd], 0) == {100, 101}
    assert front([*climbed(8, 0.01), *crowd], 0) == set()


def test_gaps_in_the_numbers_do_no_harm(judge):
    standings = [
        Standing(number, 1000, (score,)) for number, score in ((3, 0.9), (17, 0.2), (40, 0.5))
    ]
    assert 3 in judge(standings, 0)
