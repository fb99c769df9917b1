"""Importances: the choice that decides has the largest share; too few trials or equal scores say
nothing.
"""

import random

import pytest

from tenslora_search.runs.events import Proposed, Rung
from tenslora_search.runs.replay import replay
from tenslora_search.spec.geometry import Geometry
from tenslora_search.study.importance import FEWEST, importances
from tenslora_search.study.space import SearchSpace

SPACE = SearchSpace.load("default", Geometry.attention(64, 4, 4), 20_000)


def records(n_trials, score, steps=(10,)):
    """Trials at random points; `score` of the point at every rung, which the first half of the
    trials climbs further.
    """
    generator = random.Random(0)
    found = []
    for number in range(n_trials):
        point = SPACE.nudged({}, generator, reach=2)
        construction, _, decomposition = point["structure"].partition(" x ")
        about = {"construction": construction, "decomposition": decomposition}
        found.append(Proposed(number, point, {}, 1, "", construction, decomposition, (1,)))
        for step in steps[: 1 if number >= n_trials // 2 else None]:
            found.append(Rung(number, step, score({**point, **about})))
    return replay(found)


@pytest.mark.parametrize(
    ("name", "score"),
    [
        ("learning_rate", lambda point: -point["learning_rate"]),
        ("construction", lambda point: float("depth" in point["construction"])),
    ],
)
def test_the_choice_that_decides_has_the_largest_share(name, score):
    found = importances(records(200, score), SPACE.searched)
    shares = found["importances"]
    assert set(shares) == {"construction", "decomposition"} | (set(SPACE.searched) - {"structure"})
    assert sum(shares.values()) == pytest.approx(1.0)
    assert max(shares, key=shares.__getitem__) == name
    assert shares[name] > 0.5


def test_the_highest_rung_with_enough_trials_is_taken():
    def step(n_trials):
        return importances(
            records(n_trials, lambda point: point["size"], steps=(10, 30)), SPACE.searched
        )["importances_step"]

    assert step(2 * FEWEST) == 30
    assert step(2 * FEWEST - 2) == 10


def test_too_few_trials_say_nothing():
    assert importances(records(FEWEST - 1, lambda point: point["size"]), SPACE.searched) == {}
    assert importances({}, SPACE.searched) == {}


def test_equal_scores_say_nothing():
    assert importances(records(50, lambda point: 0.5), SPACE.searched) == {}
