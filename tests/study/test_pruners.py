"""Judges: pure functions of the standings. Each one prunes what it should, keeps the best, and
treats all alike.
"""

import random

import pytest

from tenslora_search.study.pruners import PRUNERS, Standing, _leading, agreement_of

ETA, N_RUNGS = 3, 3


def fresh(scores, n_params=1000):
    return [Standing(number, n_params, (score,)) for number, score in enumerate(scores)]


def complete(n: int, first: int, score: float = 0.5) -> list[Standing]:
    return [Standing(first + k, 1000, (score, score, score), is_complete=True) for k in range(n)]


@pytest.fixture(params=list(PRUNERS))
def judge(request):
    return PRUNERS[request.param](ETA, N_RUNGS)


def test_the_best_is_always_kept_and_only_those_who_stand_here_are_judged(judge):
    generator = random.Random(0)
    for _ in range(5):
        standings = [*fresh([generator.random() for _ in range(20)]), *complete(6, first=20)]
        kept = judge(standings, 0)
        best = max(range(20), key=lambda number: standings[number].scores[0])
        assert kept <= set(range(20))
        assert best in kept


def test_the_order_of_the_standings_does_not_matter(judge):
    generator = random.Random(1)
    standings = [*fresh([generator.random() for _ in range(20)]), *complete(6, first=20)]
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


def test_front_keeps_small_ones_and_asks_large_ones_for_more_than_noise():
    judge = PRUNERS["front"](ETA, N_RUNGS)
    small = [Standing(k, 100 + k, (0.3 + 0.01 * k,)) for k in range(9)]
    large = [Standing(9 + k, 10_000 + k, (0.8 + 0.01 * k,)) for k in range(9)]
    kept = judge([*small, *large], 0)
    assert any(number < 9 for number in kept), (
        "a small adapter is not judged by a large one's score"
    )


def climbed(n: int, noise: float, seed: int = 0) -> list[Standing]:
    """Of 3 n trials at the lowest rung the better n went on to the end."""
    generator = random.Random(seed)
    early = sorted((generator.random() for _ in range(3 * n)), reverse=True)
    return [
        Standing(k, 1000, (one, one + generator.gauss(0, noise)) if k < n else (one,), k < n)
        for k, one in enumerate(early)
    ]


def test_agreement_is_that_of_all_although_only_the_better_went_on():
    assert agreement_of(climbed(60, 0.01), 0) > 0.95
    assert agreement_of(climbed(600, 0.3), 0) == pytest.approx(0.69, abs=0.08)
    assert agreement_of(climbed(60, 3.0), 0) < 0.4
    assert agreement_of(fresh([0.1, 0.2]), 0) == 0.7


def test_front_prunes_less_where_a_rung_misleads():
    judge = PRUNERS["front"](ETA, N_RUNGS)
    new = [Standing(200 + k, 1000, (k / 30,)) for k in range(30)]
    kept = [len(judge([*climbed(30, noise), *new], 0)) for noise in (0.01, 5.0)]
    assert kept[0] < 0.75 * kept[1]


def test_of_scores_within_the_noise_the_smaller_adapter_climbs():
    judge = PRUNERS["front"](ETA, N_RUNGS)
    crowd = [Standing(2 + k, 500, (0.5 + 0.1 * k,)) for k in range(3)]
    close = [Standing(0, 100, (0.7,)), Standing(1, 10_000, (0.701,))]
    clear = [Standing(0, 100, (0.7,)), Standing(1, 10_000, (0.99,))]
    assert 1 not in judge([*close, *crowd], 0)
    assert 1 in judge([*clear, *crowd], 0)


@pytest.mark.parametrize("noise", [0.0, 0.05, 0.4])
def test_those_ahead_are_counted_as_plainly(noise):
    """The fast way, which looks at those near the bar alone, against a count of all pairs."""
    generator = random.Random(3)
    members = [
        Standing(k, generator.choice((100, 200, 300)), (round(generator.random(), 1),))
        for k in range(60)
    ]

    def is_ahead(other, one):
        gain = other.scores[0] - one.scores[0]
        places = [(x.n_params, -x.scores[0], x.number) for x in (other, one)]
        return gain > noise or (abs(gain) <= noise and places[0] < places[1])

    for allowed in (1, 7, 30, 60):
        plain = [
            k for k, one in enumerate(members)
            if sum(is_ahead(other, one) for other in members) < allowed
        ]  # fmt: skip
        assert _leading(members, range(60), 0, noise, allowed) == plain


def test_gaps_in_the_numbers_do_no_harm(judge):
    standings = [
        Standing(number, 1000, (score,)) for number, score in ((3, 0.9), (17, 0.2), (40, 0.5))
    ]
    assert 3 in judge(standings, 0)
