"""estimates_of(): what the complete trials of a run are worth, by the model of all its scores."""

from collections.abc import Mapping
from typing import Any, NamedTuple

from tenslora_search.report.estimates import FEWEST, Wanted, estimates
from tenslora_search.runs.replay import Record

Estimate = tuple[float, float, float]
"""The estimate, its standard error, and how likely the trial is on the front."""


class Told(NamedTuple):
    """A trial as the model of scores takes it."""

    point: Mapping[str, Any]
    n_params: int
    scores: Mapping[int, float]


_last: dict[str, list[Estimate]] = {}
"""Of the run that was read last, by all that they follow from: a report reads it several times."""


def estimates_of(records: Mapping[int, Record]) -> dict[int, Estimate]:
    """By number; none where there are too few trials."""
    complete = [one for one in records.values() if one.state == "complete" and one.rungs]
    trials = [one for one in records.values() if one.rungs and one.cut_from is None]
    if len(trials) < FEWEST or not complete:
        return {}
    known = [Told(one.point, one.n_params, one.curve) for one in trials]
    wanted = [_wanted(one, records) for one in complete]
    key = repr((known, wanted))
    if key not in _last:
        _last.clear()
        _last[key] = estimates(known, wanted)
    return dict(zip((one.number for one in complete), _last[key], strict=False))


def _wanted(one: Record, records: Mapping[int, Record]) -> Wanted:
    """A cut is as good as what it was cut from, but for the difference of their scores, which are
    of one training and the same rows.
    """
    if one.cut_from is None:
        return Wanted(one.point, one.n_params, one.n_params)
    parent = records[one.cut_from]
    shift = (one.score or 0.0) - (parent.score or 0.0)
    return Wanted(parent.point, parent.n_params, one.n_params, shift)
