"""SAMPLERS: who proposes points, by name. A proposer is a function of what all trials have reached,
asked for a whole batch at once; Optuna's samplers become one by `of_optuna`.

The space is flat, so that each of them can model all of it.
"""

import math
import warnings
from collections.abc import Callable, Sequence

import optuna
from optuna.distributions import BaseDistribution, CategoricalDistribution, FloatDistribution
from optuna.exceptions import ExperimentalWarning
from optuna.samplers import BaseSampler, GPSampler, NSGAIISampler, RandomSampler, TPESampler
from optuna.study import Study, StudyDirection
from optuna.trial import FrozenTrial, TrialState, create_trial

from tenslora_search.spec.knobs import Choice, Range
from tenslora_search.spec.table import Table
from tenslora_search.study.lattice import propose
from tenslora_search.study.seen import Point, Seen
from tenslora_search.study.space import SearchSpace

Proposer = Callable[[Sequence[Seen], int], list[Point]]
"""(all trials so far, how many points) -> the points. It may repeat itself: the study moves a
proposal that is not new.
"""


def of_optuna(space: SearchSpace, sampler: BaseSampler, objective: str) -> Proposer:
    """A sampler of Optuna's, which sees each trial's score at the last rung it has reached.

    Trials without a score are running to it, failed ones failed. With the objective "front" it
    maximizes the score and minimizes log10 of the parameters.
    """
    quieten()
    kinds = distributions(space)

    def propose(seen: Sequence[Seen], count: int) -> list[Point]:
        study = optuna.create_study(sampler=sampler, directions=directions(objective))
        study.add_trials([_as_trial(one, kinds, objective) for one in seen])
        return [study.ask(kinds).params for _ in range(count)]

    return propose


def tpe(space: SearchSpace, seed: int, objective: str) -> Proposer:
    """Tree-structured Parzen estimator; running trials count as poor ones, so that packs are
    diverse.
    """
    sampler = TPESampler(seed=seed, n_startup_trials=16, constant_liar=True)
    return of_optuna(space, sampler, objective)


def random(space: SearchSpace, seed: int, objective: str) -> Proposer:
    """Points drawn uniformly: the baseline."""
    draw = of_optuna(space, RandomSampler(seed=seed), objective)
    return lambda seen, count: draw((), count)


def nsga2(space: SearchSpace, seed: int, objective: str) -> Proposer:
    """NSGA-II, a genetic algorithm that sorts by dominance."""
    return of_optuna(space, _Nsga2(seed=seed, population_size=24), objective)


def gp(space: SearchSpace, seed: int, objective: str) -> Proposer:
    """A Gaussian process with expected (hypervolume) improvement; some 0.3 s a proposal."""
    return of_optuna(space, GPSampler(seed=seed, n_startup_trials=16), objective)


def lattice(space: SearchSpace, seed: int, objective: str) -> Proposer:
    """Whole packs by the area that they are expected to add to the front, from a model over all
    rungs; exact counts, running trials and noise included.
    """
    return lambda seen, count: propose(space, seed, objective, seen, count)


class _Nsga2(NSGAIISampler):
    """NSGA-II that counts generations by the scored trials, in their order.

    Optuna's notes the generation in a trial when it is asked for; those told have no such note,
    so that it would take all of them as generation 0, and draw at random for ever.
    """

    def get_trial_generation(self, study: Study, trial: FrozenTrial) -> int:
        return len(_scored(study)) // self._size

    def get_population(self, study: Study, generation: int) -> list[FrozenTrial]:
        return _scored(study)[generation * self._size :][: self._size]

    @property
    def _size(self) -> int:
        assert self.population_size is not None
        return self.population_size


def _scored(study: Study) -> list[FrozenTrial]:
    return study.get_trials(deepcopy=False, states=[TrialState.COMPLETE])


SAMPLERS: Table[Callable[[SearchSpace, int, str], Proposer]] = Table(
    "sampler", {entry.__name__: entry for entry in (tpe, random, nsga2, gp, lattice)}
)
"""(space, seed, objective) -> who proposes."""


def quieten() -> None:
    """Optuna tells of every trial, and warns of what is new in it."""
    optuna.logging.set_verbosity(optuna.logging.WARNING)
    warnings.filterwarnings("ignore", category=ExperimentalWarning)


def distributions(space: SearchSpace) -> dict[str, BaseDistribution]:
    """A space in Optuna's terms."""
    return {name: _distribution(one) for name, one in space.searched.items()}


def directions(objective: str) -> list[StudyDirection]:
    """Of the score, and for "front" of the parameters."""
    both = [StudyDirection.MAXIMIZE, StudyDirection.MINIMIZE]
    return both if objective == "front" else both[:1]


def values(score: float, n_params: int, objective: str) -> list[float]:
    """What Optuna is told of a trial: the score, and for "front" log10 of its parameters."""
    both = [float(score), math.log10(n_params)]
    return both if objective == "front" else both[:1]


def _as_trial(one: Seen, kinds: dict[str, BaseDistribution], objective: str) -> FrozenTrial:
    point = dict(one.point)
    if one.state == "failed":
        return create_trial(params=point, distributions=kinds, state=TrialState.FAIL)
    if one.score is None:
        return create_trial(params=point, distributions=kinds, state=TrialState.RUNNING)
    found = values(one.score, one.n_params, objective)
    return create_trial(params=point, distributions=kinds, values=found)


def _distribution(one: Choice | Range) -> BaseDistribution:
    if isinstance(one, Choice):
        return CategoricalDistribution(one.values)
    return FloatDistribution(one.low, one.high, log=one.log)
