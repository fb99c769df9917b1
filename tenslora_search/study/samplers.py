"""SAMPLERS: who proposes points; Optuna's own, by name. The space is flat, so that each of them can
model all of it.
"""

from collections.abc import Callable

from optuna.samplers import BaseSampler, GPSampler, NSGAIISampler, RandomSampler, TPESampler

from tenslora_search.spec.table import Table


def tpe(seed: int) -> BaseSampler:
    """Tree-structured Parzen estimator; running trials count as poor ones, so that packs are
    diverse.
    """
    return TPESampler(seed=seed, n_startup_trials=16, constant_liar=True)


def random(seed: int) -> BaseSampler:
    """Points drawn uniformly: the baseline."""
    return RandomSampler(seed=seed)


def nsga2(seed: int) -> BaseSampler:
    """NSGA-II, a genetic algorithm that sorts by dominance."""
    return NSGAIISampler(seed=seed, population_size=24)


def gp(seed: int) -> BaseSampler:
    """A Gaussian process with expected (hypervolume) improvement; some 0.3 s a proposal."""
    return GPSampler(seed=seed, n_startup_trials=16)


SAMPLERS: Table[Callable[[int], BaseSampler]] = Table(
    "sampler", {entry.__name__: entry for entry in (tpe, random, nsga2, gp)}
)
