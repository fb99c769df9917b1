"""The model of all scores: it finds the truth behind noise, knows how sure it is, and stays away
where there is too little.
"""

import math
import random

import numpy as np
import pytest

from tenslora_search.report.estimates import FEWEST, Encoder, ScoreModel, front_shares
from tenslora_search.study.seen import Seen

NOISE = 0.02


def truth(point, size: int) -> float:
    return 0.9 - size**-0.4 - 0.02 * math.log(point["rate"] / 2e-3) ** 2 - 0.05 * point["bad"]


def told(n: int, seed: int = 0) -> list[Seen]:
    """Of sizes from 100 to 10,000; a third of them went on, their early scores lower."""
    generator = random.Random(seed)
    found = []
    for number in range(n):
        size = round(100 * 100 ** generator.random())
        rate = 2e-4 * 50 ** generator.random()
        structure = generator.choice(["none x cp", "qkv x cp", "qkv x tucker"])
        point = {"structure": structure, "rate": rate, "bad": generator.choice([False, True])}
        steps = (10, 90) if number % 3 == 0 else (10,)
        scores = {
            step: truth(point, size) - 0.5 / step + generator.gauss(0, NOISE) for step in steps
        }
        found.append(Seen(number, point, size, scores, "paused"))
    return found


@pytest.fixture(scope="module")
def model():
    return ScoreModel.fitted(told(90))


def test_it_is_nearer_to_the_truth_than_the_scores_and_knows_its_error(model):
    new = told(60, seed=1)
    mean, error = model.at([one.point for one in new], [one.n_params for one in new])
    gaps = mean - [truth(one.point, one.n_params) - 0.5 / 90 for one in new]
    assert np.sqrt((gaps**2).mean()) < NOISE
    assert (np.abs(gaps) < 2 * error).mean() > 0.85
    assert model.noise == pytest.approx(NOISE, rel=0.5)


def test_draws_are_of_the_mean_and_the_error(model):
    new = told(20, seed=2)
    points, sizes = [one.point for one in new], [one.n_params for one in new]
    mean, error = model.at(points, sizes)
    drawn = model.draws(points, sizes, 2_000)
    assert drawn.mean(1) == pytest.approx(mean, abs=0.1 * error.max())
    assert drawn.std(1) == pytest.approx(error, rel=0.15)
    assert (model.draws(points, sizes, 3) == model.draws(points, sizes, 3)).all()


def test_a_lucky_score_is_drawn_back(model):
    seen = told(90)
    lucky = max(seen, key=lambda one: one.score - truth(one.point, one.n_params) if
                len(one.scores) > 1 else -1)  # fmt: skip
    (mean,), _ = model.at([lucky.point], [lucky.n_params])
    assert mean < lucky.score - 0.5 * (lucky.score - truth(lucky.point, lucky.n_params))


def test_there_is_none_of_few_or_equal_scores():
    assert ScoreModel.fitted(told(FEWEST - 1)) is None
    alike = [Seen(k, {"rate": 1e-3}, 100 + k, {10: 0.5}, "paused") for k in range(40)]
    assert ScoreModel.fitted(alike) is None


def test_names_are_as_far_apart_as_the_ends_of_a_range():
    points = [{"structure": "a x b", "rate": 1.0}, {"structure": "c x b", "rate": 2.0}, {}]
    encoder = Encoder(points[:2], [10, 10])
    rows = encoder.rows(points[:2], [10, 10])
    assert np.abs(rows[0] - rows[1]).sum() == pytest.approx(1 + math.sqrt(2))
    assert ((rows[0] - rows[1]) ** 2).sum() == pytest.approx(2)
    assert encoder.rows(points, [10] * 3).shape[1] + 1 == len(encoder.groups)


def test_shares_of_a_front():
    drawn = np.array([[0.5, 0.5], [0.4, 0.6], [0.7, 0.7]])
    assert front_shares([10, 20, 30], drawn).tolist() == [1.0, 0.5, 1.0]
    assert front_shares([30, 20, 10], drawn).tolist() == [0.0, 0.0, 1.0]
    assert front_shares([10, 10, 30], drawn).tolist() == [0.5, 0.5, 1.0]  # of one size the better
