"""Prior: what a space's `[prior]` believes, with a weight that fades.

[prior]
weight = 8
structure = ["depth x tucker2", "none x cp"]
learning_rate = 1e-3
gradient = 64
"""

import random
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, cast

from tenslora_search.spec.knobs import Choice
from tenslora_search.spec.table import QuestionError, shortened, unknown
from tenslora_search.study.parameters import Parameter, has, near

WEIGHT = 8.0
"""Of a prior that says none: half of the proposals after 8 trials follow it."""
REACH = 0.1
"""A number is believed to lie within this share of its range."""
MOST = 1e6
WEIGHTS: Mapping[str, float] = {"weight": WEIGHT, "gradient": 0.0}
"""Numbers of trials, and what they are where a prior says none."""
GRADIENT_PROBE = "gradient_spectra"
"""The probe that `gradient` needs: see study/promise.py."""


@dataclass(frozen=True)
class Prior:
    """Values that are believed to be good. A proposal after n trials follows them with probability
    weight / (weight + n), so that a wrong belief costs about `weight` trials and no more.
    """

    beliefs: Mapping[str, tuple[Any, ...]] = field(default_factory=dict[str, tuple[Any, ...]])
    """by the name of a parameter: one of these, or a number near one of these"""
    weight: float = WEIGHT
    gradient: float = 0.0
    """the weight, a number of trials too, of what the first gradient promises (study/promise.py)"""

    def followed(
        self,
        point: Mapping[str, Any],
        searched: Mapping[str, Parameter],
        n_trials: int,
        generator: random.Random,
    ) -> dict[str, Any]:
        """The point, or, with the chance above, the point with all that is believed."""
        found = dict(point)
        if not self.beliefs or generator.random() * (self.weight + n_trials) >= self.weight:
            return found
        for name, values in self.beliefs.items():
            one = searched.get(name)
            if one is None:
                continue  # a constant here, or nothing that this model has
            value = generator.choice(values)
            if isinstance(one, Choice):
                found[name] = value if has(one, value) else found[name]
            else:
                found[name] = near(one, min(one.high, max(one.low, value)), generator, REACH)
        return found


def prior_of(what: str, said: object, among: Mapping[str, Parameter]) -> Prior:
    """From a space's table `[prior]`; `QuestionError` for what it cannot believe."""
    if not isinstance(said, dict):
        raise QuestionError(f"{what} is a table of values; got {shortened(said)}.")
    beliefs = dict(cast("dict[str, Any]", said))
    weights = {key: beliefs.pop(key, usual) for key, usual in WEIGHTS.items()}
    for key, weight in weights.items():
        is_number = isinstance(weight, int | float) and not isinstance(weight, bool)
        if not is_number or not 0 <= weight <= MOST:
            raise QuestionError(
                f"{what}: {key} is a number of trials from 0 to {MOST:g}; got {shortened(weight)}."
            )
    found: dict[str, tuple[Any, ...]] = {}
    for name, value in beliefs.items():
        if name not in among:
            raise QuestionError(f"{what}: {unknown('key', name, [*WEIGHTS, *among])}")
        values = cast("list[Any]", value) if isinstance(value, list) else [value]
        for one in values:
            if not isinstance(one, str | int | float) or not has(among[name], one):
                raise QuestionError(
                    f"{what}: {name} holds {_held(among[name])}; got {shortened(one)}."
                )
        if not values:
            raise QuestionError(f"{what}: {name} is an empty list; give one value or more.")
        found[name] = tuple(values)
    return Prior(found, **{key: float(one) for key, one in weights.items()})


def _held(one: Parameter) -> str:
    """What a parameter holds, for people."""
    if isinstance(one, Choice):
        return shortened(", ".join(map(str, one.values)))
    return f"{one.low:g} to {one.high:g}"
