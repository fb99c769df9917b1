"""PRUNERS: who may climb on. At every rung the trials that stand there are judged against all that
have stood there.

A judge is a pure function of the standings, so a search that resumes judges as before, and a paused
trial may be judged again when others have joined its rung. Optuna's pruners judge through a
single-objective mirror of the study, made anew each time, because a study with two objectives can
neither report nor prune.
"""

from collections.abc import Callable, Sequence
from copy import copy
from dataclasses import dataclass

import optuna
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
    """The best 1/eta of each third of the sizes climb on; a larger adapter must be better by more
    than the noise.
    """
    return lambda standings, rung: _front(standings, rung, eta)


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

NOISE = 0.01
"""Two scores closer than this are taken for equal by the `front` pruner: about the spread over
seeds on 1,000 rows.
"""
N_BANDS = 3


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


def _front(standings: Sequence[Standing], rung: int, eta: int) -> set[int]:
    peers = sorted(
        (one for one in standings if len(one.scores) > rung),
        key=lambda one: (one.n_params, one.number),
    )
    n_bands = min(N_BANDS, max(1, len(peers) // eta))
    kept: set[int] = set()
    for band in range(n_bands):
        members = peers[band * len(peers) // n_bands : (band + 1) * len(peers) // n_bands]
        allowed = max(1, round(len(members) / eta))
        for one in members:
            is_here = len(one.scores) == rung + 1 and not one.is_complete
            if is_here and sum(_beats(other, one, rung) for other in members) < allowed:
                kept.add(one.number)
    return kept


def _beats(one: Standing, other: Standing, rung: int) -> bool:
    """Whether `one` is better: clearly by score, or within the noise and not larger."""
    gain = one.scores[rung] - other.scores[rung]
    if abs(gain) > NOISE:
        return gain > 0
    return (one.n_params, -one.scores[rung], one.number) < (
        other.n_params,
        -other.scores[rung],
        other.number,
    )
