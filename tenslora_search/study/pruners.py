"""PRUNERS: who may climb on. At every rung the trials that stand there are judged against all that
have stood there.

A judge is a pure function of the standings, so a search that resumes judges as before, and a paused
trial may be judged again when others have joined its rung. Optuna's pruners judge through a
single-objective mirror of the study, made anew each time, because a study with two objectives can
neither report nor prune.
"""

import math
from collections.abc import Callable, Sequence
from copy import copy
from dataclasses import dataclass

import numpy as np
import optuna
from numpy.typing import NDArray
from optuna.pruners import (
    BasePruner,
    HyperbandPruner,
    MedianPruner,
    NopPruner,
    PercentilePruner,
    SuccessiveHalvingPruner,
    WilcoxonPruner,
)
from optuna.trial import TrialState, create_trial

from tenslora_search.spec.table import Table


@dataclass(frozen=True, slots=True)
class Standing:
    """A trial as a judge sees it."""

    number: int
    n_params: int
    scores: tuple[float, ...]
    """at the rungs it has reached, from the lowest"""
    is_complete: bool = False


Scores = NDArray[np.float64]
Judge = Callable[[Sequence[Standing], int], set[int]]
"""(all standings, a rung) -> the numbers of those whose last rung this is and which may climb on.
"""


def hyperband(eta: int, n_rungs: int) -> Judge:
    """Hyperband: brackets of successive halving that begin to prune at different rungs; arXiv
    1603.06560.
    """
    return _mirrored(
        lambda: HyperbandPruner(
            min_resource=1, max_resource=eta ** (n_rungs - 1), reduction_factor=eta
        ),
        eta,
    )


def successive_halving(eta: int, n_rungs: int) -> Judge:
    """Asynchronous successive halving: the best 1/eta of each rung climb on; arXiv 1810.05934."""
    return _mirrored(lambda: SuccessiveHalvingPruner(min_resource=1, reduction_factor=eta), eta)


def median(eta: int, n_rungs: int) -> Judge:
    """Those below the median of the completed trials at the same rung stop, once 4 trials are
    complete.
    """
    return _mirrored(lambda: MedianPruner(n_startup_trials=4), eta)


def percentile(eta: int, n_rungs: int) -> Judge:
    """Those outside the best quarter of the completed trials at the same rung stop, once 4 trials
    are complete.
    """
    return _mirrored(lambda: PercentilePruner(25.0, n_startup_trials=4), eta)


def wilcoxon(eta: int, n_rungs: int) -> Judge:
    """Those that trail the best complete trial at every rung so far stop (signed-rank test, p <
    0.3), from the second rung.
    """
    return _mirrored(lambda: WilcoxonPruner(p_threshold=0.3, n_startup_steps=2), eta)


def front(eta: int, n_rungs: int) -> Judge:
    """Those stop whose chance to end on the front is below half of the average at their rung, by
    what the run has shown: how the last scores of the better half went with those at this rung.
    Where a rung tells nothing all chances are one, and nobody stops. Until eight trials have been
    trained to the end, all climb on if many stand there; few are judged by what rungs usually tell.
    """
    return lambda standings, rung: _front(standings, rung)


def none(eta: int, n_rungs: int) -> Judge:
    """Every trial is trained to the end."""
    return _mirrored(NopPruner, eta)


PRUNERS: Table[Callable[[int, int], Judge]] = Table(
    "pruner",
    {
        entry.__name__: entry
        for entry in (hyperband, successive_halving, median, percentile, wilcoxon, front, none)
    },
)

LEAST_CHANCE = 0.5
"""Of the average chance: of 0.1 to 1, 0.25 and 0.5 keep the area under the front of a search that
prunes nothing, and 0.5 takes less time (reports/few_trials.md).
"""
FEW, MANY = 8, 16
"""As many trained to the end as tell what a rung is worth; and as many on a rung as make it worth
while to wait for that. On recorded curves of TREC pruning before that cost a tenth of the area
under the front; searches of 8 and 12 trials lose a fiftieth, for a third less of the steps.
"""
USUAL_AGREEMENT, USUAL_COUNTS = 0.7, 4
"""The correlation of a rung with the end before a run shows any; it counts as so many trials."""


def _mirrored(pruner: Callable[[], BasePruner], eta: int) -> Judge:
    """Judges through an in-memory study in which rung k is step eta^k and each standing a trial."""

    def judge(standings: Sequence[Standing], rung: int) -> set[int]:
        judging = pruner()
        study = optuna.create_study(study_name="mirror", direction="maximize", pruner=judging)
        for standing in sorted(standings, key=lambda one: one.number):
            while (
                len(study.get_trials(deepcopy=False)) < standing.number
            ):  # numbers decide Hyperband's brackets
                study.add_trial(create_trial(state=TrialState.FAIL))
            study.add_trial(_mirror_trial(standing, eta))
        here = [one for one in standings if len(one.scores) == rung + 1 and not one.is_complete]
        return {
            one.number
            for one in here
            if not judging.prune(study, _candidate(study, one.number, rung))
        }

    return judge


def _mirror_trial(standing: Standing, eta: int) -> optuna.trial.FrozenTrial:
    """Successive halving keeps each rung's score in a system attribute; it is written here as the
    pruner itself does.
    """
    return create_trial(
        state=TrialState.COMPLETE if standing.is_complete else TrialState.RUNNING,
        value=standing.scores[-1] if standing.is_complete else None,
        intermediate_values={eta**rung: score for rung, score in enumerate(standing.scores)},
        system_attrs={
            f"completed_rung_{rung}": score for rung, score in enumerate(standing.scores)
        },
    )


def _candidate(study: optuna.Study, number: int, rung: int) -> optuna.trial.FrozenTrial:
    """The trial as it stood before its last rung was judged."""
    trial = copy(study.get_trials(deepcopy=False)[number])
    trial._system_attrs = {  # pyright: ignore[reportPrivateUsage]
        f"completed_rung_{k}": trial.system_attrs[f"completed_rung_{k}"] for k in range(rung)
    }
    return trial


def _front(standings: Sequence[Standing], rung: int) -> set[int]:
    peers = sorted((one for one in standings if len(one.scores) > rung), key=_by_size)
    ended = sorted((one for one in standings if one.is_complete), key=_by_size)
    climbed = [one for one in ended if len(one.scores) > rung + 1]
    sizes = np.array([one.n_params for one in peers])
    scores = np.array([one.scores[rung] for one in peers])
    if len(climbed) >= FEW:
        early, late = (np.array([one.scores[at] for one in climbed]) for at in (rung, -1))
        expected, error = forecast(early, late, scores, agreement_of(early, late))
        tops = np.maximum.accumulate([-math.inf, *(one.scores[-1] for one in ended)])
        bars = tops[np.searchsorted([one.n_params for one in ended], sizes, side="right")]
    elif USUAL_COUNTS <= len(peers) < MANY:
        expected, error = forecast(scores, scores, scores, USUAL_AGREEMENT)
        are_rivals = (sizes <= sizes[:, None]) & ~np.eye(len(peers), dtype=bool)
        bars = np.where(are_rivals, expected, -math.inf).max(1)
    else:
        expected, error, bars = scores, 1.0, scores
    ahead = (bars - expected) / error  # the best of whom is no larger, in standard deviations
    chances = np.array([math.erfc(one / math.sqrt(2)) / 2 for one in ahead])
    least = LEAST_CHANCE * chances.mean() if peers else 0.0
    return {
        one.number
        for one, chance in zip(peers, chances, strict=True)
        if len(one.scores) == rung + 1 and not one.is_complete and chance >= least
    }


def _by_size(one: Standing) -> tuple[int, int]:
    return one.n_params, one.number


def forecast(early: Scores, late: Scores, here: Scores, agreement: float) -> tuple[Scores, float]:
    """What trials that score `here` at a rung will score at the end, and the standard deviation of
    that: the line of such a correlation through the `early` and `late` scores of the better half
    of others. Scores of those that fail altogether would widen both.
    """
    is_better = early >= np.median(early)
    early, late = early[is_better], late[is_better]
    slope = agreement * late.std() / early.std() if early.std() else 0.0
    error = late.std() * math.sqrt(1 - agreement**2)
    return late.mean() + slope * (here - early.mean()), max(float(error), 1e-9)


def agreement_of(early: Scores, late: Scores) -> float:
    """The correlation of scores at a rung with the last ones, from 0 to 1, among the better half;
    the fewer they are, the nearer to what is usual.
    """
    is_better = early >= np.median(early)
    early, late = early[is_better], late[is_better]
    if not early.std() or not late.std():
        return USUAL_AGREEMENT
    found = float(np.corrcoef(early, late)[0, 1])
    shrunk = len(early) * found + USUAL_COUNTS * USUAL_AGREEMENT
    return max(0.0, shrunk / (len(early) + USUAL_COUNTS))
