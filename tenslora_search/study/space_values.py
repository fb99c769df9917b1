"""The values of a space file: what is said of a number or a knob as a parameter, checked."""

from collections.abc import Mapping
from typing import Any, cast

from tenslora_search.spec.knobs import Choice, Knob, Range, check_whole, knobs
from tenslora_search.spec.table import QuestionError, shortened
from tenslora_search.spec.trial import TrialSpec
from tenslora_search.study.parameters import Parameter

WHOLE = Range(1e-9, 1.0, log=True)
"""What a size may be: any share of the budget."""
NUMBERS: Mapping[str, Range] = {
    "size": WHOLE,
    **{one.name: one.among for one in knobs(TrialSpec) if isinstance(one.among, Range)},
}
"""What numbers a space may say, and what they may be: the size as a share of the budget, and the
numbers of a trial.
"""
LEAST_LOW = 1e-12
"""A range on a logarithmic scale begins no lower."""
LEAST_RATIO = 1 + 1e-6
"""The ends of a range are at least this far apart, so that samplers can tell them apart."""


def number_parameter(what: str, value: Any, key: str, limits: Range) -> Parameter:
    if value is None:
        default = next(one.default for one in knobs(TrialSpec) if one.name == key)
        return Choice((default,))
    return _parameter(what, value, limits, float)


def knob_parameter(what: str, value: Any, knob: Knob) -> Parameter:
    if isinstance(knob.among, Range):
        if not isinstance(value, dict):
            for one in listed(value):
                check_whole(what, knob, one)
        return _parameter(what, value, knob.among, type(knob.default))
    values = listed(value)
    for one in values:
        if one not in knob.among.values or isinstance(one, list | dict):
            known = ", ".join(map(str, knob.among.values))
            raise QuestionError(f"{what} is one of {known}; got {shortened(cast('object', one))}.")
    if not values:
        raise QuestionError(f"{what}: the list is empty; give one value or more.")
    return Choice(tuple(dict.fromkeys(values)))


def own_parameter(what: str, knob: Knob) -> Parameter:
    """What the entry itself says of its knob; a range is checked as a space's own are."""
    among = knob.among
    if isinstance(among, Range):
        ends = {"low": among.low, "high": among.high}
        _ = _parameter(what, ends, among, float)
    return among


def _parameter(what: str, value: Any, limits: Range, kind: type) -> Parameter:
    """A range within the limits, or the values of a list, or a constant."""
    if isinstance(value, dict):
        ends = cast("dict[str, Any]", value)
        if set(ends) != {"low", "high"}:
            raise QuestionError(
                f"{what}: a range is a table with low and high; got {shortened(ends)}."
            )
        low, high = (_number(what, ends[end], limits) for end in ("low", "high"))
        least = LEAST_LOW if limits.log else limits.low
        if low < least or low >= high or high < low * LEAST_RATIO:
            needs = f"{least:g} <= low < high"
            raise QuestionError(f"{what}: a range needs {needs}; got low {low:g}, high {high:g}.")
        return Range(low, high, limits.log)
    values = listed(value)
    if not values:
        raise QuestionError(f"{what}: the list is empty; give one value or more.")
    return Choice(tuple(dict.fromkeys(kind(_number(what, one, limits)) for one in values)))


def listed(value: Any) -> list[Any]:
    """The values of a list, or the one there is."""
    return cast("list[Any]", value) if isinstance(value, list) else [value]


def _number(what: str, value: Any, limits: Range) -> float:
    """As a float; `nan` is between no numbers."""
    is_number = isinstance(value, int | float) and not isinstance(value, bool)
    if not is_number or not limits.low <= value <= limits.high:
        raise QuestionError(
            f"{what} is a number from {limits.low:g} to {limits.high:g}; got {shortened(value)}."
        )
    return float(value)
