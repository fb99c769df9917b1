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
    """Those stop whose score at this rung makes it less than a quarter as likely that they end on
    the front: by how the last scores of the better half went with those at this rung. So nobody
    stops where a rung tells nothing, nor until eight trials have been trained to the end.
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

LEAST_CHANCE = 0.25
"""Of the chance that a trial has whatever it scores at a rung (reports/few_trials.md)."""
FEW = 8
"""As many trained to the end as tell what a rung is worth. On recorded curves of TREC pruning
before that cost a tenth of the area under the front.
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
    here = [one for one in standings if len(one.scores) == rung + 1 and not one.is_complete]
    ended = sorted(
        (one for one in standings if one.is_complete), key=lambda one: (one.n_params, one.number)
    )
    climbed = [one for one in ended if len(one.scores) > rung + 1]
    if not here or len(climbed) < FEW:
        return {one.number for one in here}
    early, late = (np.array([one.scores[at] for one in climbed]) for at in (rung, -1))
    told, before = forecasts(early, late, np.array([one.scores[rung] for one in here]))
    tops = np.maximum.accumulate([-math.inf, *(one.scores[-1] for one in ended)])
    n_as_small = np.searchsorted(
        [one.n_params for one in ended], [one.n_params for one in here], side="right"
    )
    bars = tops[n_as_small]  # the best score of those that are no larger
    chances, usual = told.beyond(bars), before.beyond(bars)
    return {
        one.number
        for one, is_less in zip(here, chances < LEAST_CHANCE * usual, strict=True)
        if not is_less
    }


@dataclass(frozen=True, slots=True)
class Forecast:
    """Last scores to come: normal around `expected`, with one standard deviation."""

    expected: Scores
    deviation: float

    def beyond(self, bars: Scores) -> Scores:
        """The chance to end above each bar."""
        gaps = (bars - self.expected) / max(self.deviation, 1e-9)
        return np.array([math.erfc(one / math.sqrt(2)) / 2 for one in gaps])


def forecasts(early: Scores, late: Scores, here: Scores) -> tuple[Forecast, Forecast]:
    """The last scores of trials that score `here` at a rung, by that score and without it: as those
    of others, `late`, go with what these had at the rung, `early`.

    Of the others the better half tells: scores of those that fail altogether would widen all. The
    fewer they are, the nearer their correlation is taken to what is usual.
    """
    is_better = early >= np.median(early)
    early, late = early[is_better], late[is_better]
    before = Forecast(np.full(len(here), late.mean()), float(late.std()))
    if not np.ptp(early) or not np.ptp(late):
        return before, before
    shown = len(early) * float(np.corrcoef(early, late)[0, 1])
    agreement = (shown + USUAL_COUNTS * USUAL_AGREEMENT) / (len(early) + USUAL_COUNTS)
    agreement = max(0.0, agreement)
    slope = agreement * before.deviation / float(early.std())
    expected = before.expected + slope * (here - early.mean())
    return Forecast(expected, before.deviation * math.sqrt(1 - agreement**2)), before
