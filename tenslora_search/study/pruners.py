"""PRUNERS: who may climb on. At every rung the trials that stand there are judged against all that
have stood there.

A judge is a pure function of the standings, so a search that resumes judges as before, and a paused
trial may be judged again when others have joined its rung. Optuna's pruners judge through a
single-objective mirror of the study, made anew each time, because a study with two objectives can
neither report nor prune.
"""

import math
import statistics
from collections.abc import Callable, Sequence
from copy import copy
from dataclasses import dataclass

import numpy as np
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
    """The best of each third of the sizes climb on: 1/eta where scores at this rung agree with
    later ones, as far as the run has shown, more where they mislead. A larger adapter must be
    better by more than what the later scores do not bear out. Where many stand and few have been
    trained to the end, all climb on: they show what the rungs are worth.
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

N_BANDS = 3
MANY, FEW = 16, 8
"""As many on a rung as make it worth while to learn how far it agrees with the end, and as many at
the end as tell. On recorded curves of TREC pruning before that cost a tenth of the area under the
front (reports/few_trials.md).
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


def _front(standings: Sequence[Standing], rung: int, eta: int) -> set[int]:
    peers = [one for one in standings if len(one.scores) > rung]
    peers.sort(key=lambda one: (one.n_params, one.number))
    if len(peers) >= MANY and sum(one.is_complete for one in standings) < FEW:
        return {one.number for one in peers if len(one.scores) == rung + 1}
    agreement = agreement_of(peers, rung)
    n_bands = min(N_BANDS, max(1, len(peers) // eta))
    kept: set[int] = set()
    for band in range(n_bands):
        members = peers[band * len(peers) // n_bands : (band + 1) * len(peers) // n_bands]
        allowed = max(1, round(len(members) * eta**-agreement))
        spread = _spread([one.scores[rung] for one in members])
        noise = spread * math.sqrt(1 - agreement**2)
        here = [
            place
            for place, one in enumerate(members)
            if len(one.scores) == rung + 1 and not one.is_complete
        ]
        kept |= {members[place].number for place in _leading(members, here, rung, noise, allowed)}
    return kept


def agreement_of(peers: Sequence[Standing], rung: int) -> float:
    """The correlation of scores at a rung with the last ones of those that went on, from 0 to 1.

    Only the better ones went on, among which scores are closer than among all; the correlation is
    corrected for that: r k / sqrt(1 + r^2 (k^2 - 1)), k the ratio of the standard deviations
    (Thorndike, Personnel Selection, 1949, case 2).
    """
    highest = max((len(one.scores) for one in peers), default=0)
    ended = [one for one in peers if len(one.scores) == highest > rung + 1]
    n = len(ended)
    early, late = [one.scores[rung] for one in ended], [one.scores[-1] for one in ended]
    if n < 3 or len(set(early)) < 2 or len(set(late)) < 2:
        return USUAL_AGREEMENT
    found = statistics.correlation(early, late)
    ratio = statistics.stdev([one.scores[rung] for one in peers]) / statistics.stdev(early)
    ratio = max(1.0, ratio)
    whole = found * ratio / math.sqrt(1 + found**2 * (ratio**2 - 1))
    shrunk = (n * whole + USUAL_COUNTS * USUAL_AGREEMENT) / (n + USUAL_COUNTS)
    return min(1.0, max(0.0, shrunk))


def _spread(scores: Sequence[float]) -> float:
    """A standard deviation that failures do not widen: half of all lie within 1.35 of it."""
    if len(scores) < 2:
        return 0.0
    low, _, high = statistics.quantiles(scores, n=4, method="inclusive")
    return (high - low) / 1.35


def _leading(
    members: Sequence[Standing], here: Sequence[int], rung: int, noise: float, allowed: int
) -> list[int]:
    """Of the places `here` those with fewer than `allowed` members ahead: clearly by score, or
    within the noise and smaller, or as large and not worse.
    """
    if not here:
        return []
    scores = np.array([one.scores[rung] for one in members])
    sizes, numbers = ([getattr(one, name) for one in members] for name in ("n_params", "number"))
    order = np.lexsort((numbers, -scores, sizes))
    place = np.empty(len(members), dtype=np.int64)
    place[order] = np.arange(len(members))
    found: list[int] = []
    # below this so many are clearly ahead; most trials of a long search are seen no further
    least = np.partition(scores, len(scores) - allowed)[len(scores) - allowed] - noise
    standing = np.array(here)
    for k in standing[scores[standing] >= least].tolist():
        gain = scores - scores[k]
        ahead = (gain > noise) | ((abs(gain) <= noise) & (place < place[k]))
        if int(ahead.sum()) < allowed:
            found.append(k)
    return found
