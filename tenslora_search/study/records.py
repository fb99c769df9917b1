"""check_records(): whether the trials of a folder are those of a search."""

from collections.abc import Mapping, Sequence
from pathlib import Path

from tenslora_search.runs.replay import Record
from tenslora_search.spec.table import QuestionError
from tenslora_search.study.space import SearchSpace


def check_records(
    records: Mapping[int, Record], space: SearchSpace, rungs: Sequence[int], folder: Path
) -> None:
    """`QuestionError` for trials that this space and these rungs cannot have made."""
    for record in records.values():
        if not space.holds(record.point):
            raise QuestionError(
                f"space {space.name} has changed since {folder} was begun: it no "
                f"longer holds its trial {record.number}. Choose another --out, or --force."
            )
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
