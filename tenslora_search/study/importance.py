"""importances(): how much each choice decided whether a trial's score is among the best; Optuna's
PED-ANOVA.
"""

import warnings
from collections.abc import Mapping, Sequence
from typing import Any

import optuna
from optuna.distributions import BaseDistribution, CategoricalDistribution, FloatDistribution

from tenslora_search.runs.events import Proposed
from tenslora_search.runs.replay import Record
from tenslora_search.spec.knobs import Choice, Range

FEWEST = 20
"""Trials below which shares would be chance."""


def importances(
    records: Mapping[int, Record], searched: Mapping[str, Choice | Range]
) -> dict[str, Any]:
    """`importances` (share by choice) and `importances_step`, for run.json; {} for too few trials,
    or if all score alike.

    Taken at the highest rung that FEWEST trials have reached, for only those are trained alike. A
    structure is two choices, construction and decomposition; a method is one. Reference: Watanabe
    et al., PED-ANOVA, arXiv 2304.10255.
    """
    by_step: dict[int, dict[int, float]] = {}
    for number, record in records.items():
        for step, score in record.curve.items():
            by_step.setdefault(step, {})[number] = score
    steps = [step for step, scores in by_step.items() if len(scores) >= FEWEST]
    if not steps:
        return {}
    step = max(steps)
    points = {number: _point(records[number].proposed, searched) for number in by_step[step]}
    distributions = _distributions(list(points.values()), searched)
    if not distributions or len(set(by_step[step].values())) < 2:
        return {}
    # with all of scikit-learn's ensembles: too much before a search has begun
    from optuna.importance import PedAnovaImportanceEvaluator, get_param_importances

    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        study = optuna.create_study(direction="maximize")
        for number, point in points.items():
            known = {name: point[name] for name in distributions}
            study.add_trial(
                optuna.create_trial(
                    params=known, distributions=distributions, value=by_step[step][number]
                )
            )
        shares = get_param_importances(study, evaluator=PedAnovaImportanceEvaluator())
    return {
        "importances": {name: float(share) for name, share in shares.items()},
        "importances_step": step,
    }


def _point(event: Proposed, searched: Mapping[str, Choice | Range]) -> dict[str, Any]:
    values = {
        name: value
        for name, value in event.point.items()
        if name in searched and name != "structure"
    }
    if "structure" not in searched:  # a method says both, and more
        return values
    return {
        "construction": event.construction,
        "decomposition": event.decomposition,
        **values,
    }


def _distributions(
    points: Sequence[Mapping[str, Any]], searched: Mapping[str, Choice | Range]
) -> dict[str, BaseDistribution]:
    """Of the choices that every trial has and that were not the same in all."""
    found: dict[str, BaseDistribution] = {}
    for name in points[0]:
        values = [point.get(name) for point in points]
        if None in values or len(set(values)) < 2:
            continue
        one = searched.get(name)
        if isinstance(one, Range):
            found[name] = FloatDistribution(one.low, one.high, log=one.log)
        else:
            found[name] = CategoricalDistribution(sorted(set(values), key=str))
    return found
