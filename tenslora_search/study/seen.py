"""Seen: a trial as a sampler sees it; Point: what a sampler proposes."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from tenslora_search.runs.replay import State

Point = dict[str, Any]
"""A value for each name that a space searches."""


@dataclass(frozen=True, slots=True)
class Seen:
    """A trial as a sampler sees it."""

    number: int
    point: Mapping[str, Any]
    n_params: int
    scores: Mapping[int, float]
    """on select, by step, from the lowest rung to the last one reached"""
    state: State

    @property
    def score(self) -> float | None:
        """At the last rung that it has reached."""
        return self.scores[max(self.scores)] if self.scores else None
