"""What the samplers make of the trials that they are told."""

import statistics

import pytest

from tenslora_search.spec.geometry import Geometry
from tenslora_search.study.samplers import SAMPLERS, Seen
from tenslora_search.study.space import ROLES, SearchSpace

SPACE = SearchSpace.load("default", Geometry.attention(32, 4, 3), 8000)


def miss(point):
    """How far a point is from the best one, which has no weight on any role."""
    return sum(point[role] for role in ROLES)


def told(n_trials):
    """Points drawn at random, each scored higher, and smaller, the nearer it is."""
    points = SAMPLERS["random"](SPACE, 1, "score")([], n_trials)
    return [
        Seen(number, point, round(1000 * (1 + miss(point))), {4: -miss(point)}, "complete")
        for number, point in enumerate(points)
    ]


def mean_miss(sampler, objective):
    """Of 24 points by each of three seeds: by chance alone it varies by some 0.08."""
    seen = told(100)
    batches = [SAMPLERS[sampler](SPACE, seed, objective)(seen, 24) for seed in range(3)]
    return statistics.mean(miss(point) for points in batches for point in points)


@pytest.mark.parametrize("objective", ["score", "front"])
def test_nsga2_draws_from_the_best_that_it_was_told(objective):
    assert mean_miss("nsga2", objective) < mean_miss("random", objective) - 0.4


def test_nsga2_proposes_the_same_by_seed():
    seen = told(100)
    first, again, other = (SAMPLERS["nsga2"](SPACE, seed, "score")(seen, 24) for seed in (0, 0, 1))
    assert first == again != other
