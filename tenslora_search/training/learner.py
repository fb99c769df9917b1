"""Rules: how one trial is trained, its own rule and its form's together. TrialLearner: the view
they are given of it.
"""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property, reduce
from itertools import pairwise
from operator import and_
from typing import NamedTuple

import torch
from torch import Tensor

from tenslora_search.nn.tensor import FactoredTensor
from tenslora_search.spec.form import Care, Factor, Rule
from tenslora_search.spec.trial import TrialSpec
from tenslora_search.training.optimizer import schedule


class Kept(NamedTuple):
    """What the optimizer keeps of one parameter, in its shape: views."""

    value: Tensor
    gradient: Tensor
    mean: Tensor
    square: Tensor


class TrialLearner:
    """A `Learner` (spec/form.py): one trial's views of its factors, cut to its ranks.

    `kept` holds what the optimizer keeps, by the id of a parameter.
    """

    def __init__(
        self,
        tensors: Sequence[tuple[FactoredTensor, int]],
        kept: Mapping[int, Kept],
        *,
        n_steps: int,
        seed: int,
    ) -> None:
        self.step: int | Tensor = 0
        self.n_steps = n_steps
        self._tensors, self._kept, self._seed = tensors, kept, seed

    @property
    def factors(self) -> tuple[Factor, ...]:
        return self._tensors[0][0].network.form.learnt

    def generator(self) -> torch.Generator:
        return torch.Generator().manual_seed((self._seed * RULE_SEED + int(self.step)) % 2**63)

    def value(self, factor: Factor) -> list[Tensor]:
        return [
            tensor.of_trial(factor.name, tensor.arrays[factor.name], place)
            for tensor, place in self._tensors
        ]

    def entries(self, factor: Factor) -> list[Tensor]:
        return [tensor.entries(factor.name, place) for tensor, place in self._tensors]

    def gradient(self, factor: Factor) -> list[Tensor]:
        return self._views(factor, "gradient")

    def moments(self, factor: Factor) -> list[tuple[Tensor, Tensor]]:
        return list(zip(self._views(factor, "mean"), self._views(factor, "square"), strict=True))

    def clear_padding(self) -> None:
        """Zeros where copies of lower ranks end, whatever a rule has written there."""
        for factor in self.factors:
            values = self.value(factor)
            for (tensor, place), value in zip(self._tensors, values, strict=True):
                entries = tensor.entries(factor.name, place)
                if not bool(entries.all()):
                    value.mul_(entries.to(value.device))

    def _views(self, factor: Factor, kind: str) -> list[Tensor]:
        return [
            tensor.of_trial(
                factor.name, getattr(self._kept[id(tensor.factors[factor.name])], kind), place
            )
            for tensor, place in self._tensors
        ]


@dataclass(frozen=True)
class Rules:
    """The rules of one trial over its `n_steps` steps: of `TrialSpec.rule` and of its form.

    They act side by side: cares are joined (`Care.__and__`), penalties add, every `between` is
    called, the trial's own first.
    """

    rules: tuple[Rule, ...]
    warmup: float
    n_steps: int

    @classmethod
    def of(cls, spec: TrialSpec, n_steps: int) -> "Rules":
        spec.check_steps(n_steps)
        return cls(spec.rules, spec.warmup, n_steps)

    def care(self, factor: Factor) -> Care:
        return reduce(and_, (rule.care(factor) for rule in self.rules))

    def penalty(self, learner: TrialLearner) -> Tensor | None:
        """What is added to the trial's loss, or None."""
        asked = [rule.penalty(learner) for rule in self.rules if rule.penalty]
        return torch.stack([one.reshape(()) for one in asked]).sum() if asked else None

    def due(self, step: int) -> list[Rule]:
        """The rules whose `between` is called after `step` steps; after the last step none is."""
        return [
            rule
            for rule in self.rules
            if (period := rule.period(self.n_steps)) and 0 < step < self.n_steps
            if step % period == 0
        ]

    @property
    def acts(self) -> bool:
        """Whether any rule is ever called between two steps."""
        return any(rule.period(self.n_steps) for rule in self.rules)

    def numbers(self, steps: range) -> list[int]:
        """Adam's number of each step (counted from 0): from 1 on, anew at each restart."""
        return [step - start + 1 for start, _, part in self._links(steps) for step in part]

    def shares(self, steps: range) -> list[float]:
        """The share of the learning rates at each step (counted from 0)."""
        return [
            share
            for start, length, part in self._links(steps)
            for share in schedule(self.warmup, length, range(part.start - start, part.stop - start))
        ]

    def _links(self, steps: range) -> Iterator[tuple[int, int, range]]:
        """The steps by the restarts they lie between: the first step of a link, its length, and
        those of the steps that are in it.
        """
        for start, stop in pairwise(self._restarts):
            end = steps.stop if stop == self._restarts[-1] else min(stop, steps.stop)
            part = range(max(start, steps.start), end)
            if part:
                yield start, stop - start, part

    @cached_property
    def _restarts(self) -> list[int]:
        """The steps, counted from 0, with which the schedule begins anew; and the end."""
        found = [rule.period(self.n_steps) for rule in self.rules if rule.restarts]
        lengths = [length for length in found if length]
        begun = {start for every in lengths for start in range(every, self.n_steps, every)}
        return [0, *sorted(begun), max(1, self.n_steps)]


RULE_SEED = 2_000_003
"""Times a trial's seed, plus the step: what a rule draws from is not what factors and head drew."""
