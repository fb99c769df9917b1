"""check_records(): whether the trials of a folder are those of a search; judged(): what they are
worth.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from tenslora_search.report.worth import estimates_of
from tenslora_search.runs.replay import Record, Replay
from tenslora_search.spec.table import QuestionError
from tenslora_search.study.space import SearchSpace


def check_records(told: Replay, space: SearchSpace, rungs: Sequence[int], folder: Path) -> None:
    """`QuestionError` for trials that this space and these rungs cannot have made, or earlier ones
    that were carried over into another space.
    """
    points = [(f"its trial {one.number}", one.point) for one in told.records.values()]
    points += [(f"trial {one.trial} of {one.run}", one.point) for one in told.earlier]
    for what, point in points:
        if not space.holds(point):
            raise QuestionError(
                f"space {space.name} has changed since {folder} was begun: it no "
                f"longer holds {what}. Choose another --out, or --force."
            )
    for record in told.records.values():
        if record.spec.adapter.n_params != record.n_params:
            raise QuestionError(
                f"trial {record.number} of {folder} was proposed with {record.n_params:,} "
                f"parameters, its specification has {record.spec.adapter.n_params:,}. Choose "
                "another --out, or --force."
            )
        strange = set(record.curve) - set(rungs)
        if strange:
            raise QuestionError(
                f"trial {record.number} of {folder} was scored at step {min(strange)}; "
                f"the rungs are {', '.join(map(str, rungs))}. Choose another --out, or "
                "--force."
            )


@dataclass(frozen=True, slots=True)
class Judged:
    """A trial as a front sees it."""

    number: int
    state: str
    n_params: int
    score: float | None
    worth: float | None


def judged(records: Mapping[int, Record]) -> list[Judged]:
    """By their estimates, where there are enough trials for a model; else by their scores."""
    found = {number: told[0] for number, told in estimates_of(records).items()}
    return [
        Judged(one.number, one.state, one.n_params, one.score, found.get(one.number, one.score))
        for one in records.values()
    ]
