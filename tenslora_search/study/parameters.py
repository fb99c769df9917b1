"""Parameters of a space: the values of one, its middle, and points near another."""

import math
import random
from typing import Any

from tenslora_search.spec.knobs import Choice, Range

Parameter = Choice | Range


def values_of(one: Parameter) -> tuple[Any, ...]:
    """Of a choice."""
    assert isinstance(one, Choice)
    return one.values


def is_constant(one: Parameter) -> bool:
    """Whether there is nothing to choose."""
    return isinstance(one, Choice) and len(one.values) == 1


def has(one: Parameter, value: Any) -> bool:
    """Whether it may take the value."""
    if isinstance(one, Choice):
        return value in one.values
    return isinstance(value, int | float) and one.low <= value <= one.high


def nearest(one: Parameter, value: Any) -> Any:
    """Of a range the number in it that is nearest; of a choice the value, or, of numbers, the
    nearest.
    """
    if isinstance(one, Range):
        is_number = isinstance(value, int | float) and not isinstance(value, bool)
        return min(one.high, max(one.low, float(value))) if is_number else middle(one)
    return value if value in one.values else min(one.values, key=lambda other: abs(other - value))


def middle(one: Parameter) -> Any:
    """The middle of a range on its own scale, the first of a choice."""
    if isinstance(one, Choice):
        return one.values[0]
    return math.sqrt(one.low * one.high) if one.log else (one.low + one.high) / 2


def near(one: Range, value: float, generator: random.Random, reach: float) -> float:
    """A number of a range near another: up to `reach` of the range away, beyond 1 anywhere."""
    low, high = (math.log(one.low), math.log(one.high)) if one.log else (one.low, one.high)
    at = math.log(value) if one.log else value
    at = (
        generator.uniform(low, high)
        if reach > 1
        else at + (high - low) * generator.uniform(-reach, reach)
    )
    at = min(high, max(low, at))
    return min(one.high, max(one.low, math.exp(at))) if one.log else at
