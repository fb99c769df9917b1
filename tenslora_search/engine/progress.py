"""Progress: what a search tells while it runs: after each segment, and now and then within one."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from tenslora_search.study.study import Study

TOLD = ("complete", "paused", "running", "waiting", "failed")
"""The states whose counts are told."""


@dataclass(frozen=True, slots=True)
class Progress:
    """What a search tells while it runs: after each segment, and now and then within one.

    >>> said = []
    >>> run = search("digits", budget="4k", progress=said.append, **quick)
    >>> said[-1].phase, said[-1].n_trials, sum(said[-1].counts.values())
    ('search', 2, 2)
    """

    phase: str
    """search or retest"""
    counts: Mapping[str, int]
    """trials by state"""
    n_trials: int
    best: float | None
    front: Sequence[tuple[int, float, int, str]]
    """(number, score, parameters, method) of the front so far, best score first"""
    curves: Sequence[Sequence[float]]
    """scores by rung of each member of the front, in the same order"""
    worker_seconds: float
    seconds: float
    seconds_left: float | None
    """by the time limit"""
    n_retests: tuple[int, int]
    """done, of"""
    steps: tuple[int, int] | None = None
    """done, of, in the segment that was heard of last; None between segments"""
    seconds_to_scores: float | None = None
    """until that segment is trained, by its pace so far"""


def progress_of(
    study: Study,
    *,
    phase: str,
    seconds: float,
    seconds_left: float | None,
    n_retests: tuple[int, int],
    beat: "Beat | None" = None,
) -> Progress:
    """What a study has come to."""
    records = study.told.trials.values()
    members = [study.records[number] for number in study.front()]
    # one that is scored waits for its wave's others, and is then judged
    states = ["waiting" if one.state == "reached" else one.state for one in records]
    scores = [one.score for one in records if one.state == "complete" and one.score is not None]
    return Progress(
        phase=phase,
        counts={state: states.count(state) for state in TOLD},
        n_trials=study.n_trials,
        best=max(scores, default=None),
        front=[
            (one.number, one.score or 0.0, one.n_params, one.proposed.method) for one in members
        ],
        curves=[list(one.curve.values()) for one in members],
        worker_seconds=sum(one.seconds for one in records),
        seconds=seconds,
        seconds_left=seconds_left,
        n_retests=n_retests,
        steps=(beat.step, beat.of) if beat is not None else None,
        seconds_to_scores=beat.seconds_left if beat is not None else None,
    )


@dataclass(frozen=True, slots=True)
class Beat:
    """Where a segment that runs stands."""

    first: int
    """the step it was first heard at"""
    first_heard: float
    """when, in seconds of the search"""
    step: int
    of: int
    heard: float

    @property
    def seconds_left(self) -> float | None:
        """By its pace so far; None before there is one."""
        done = self.step - self.first
        return (self.of - self.step) * (self.heard - self.first_heard) / done if done else None
