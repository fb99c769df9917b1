"""about_data(): local data as a search sees them, read without torch: columns, labels, counts."""

from collections import Counter
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from tenslora_search.data.columns import Columns, find_columns
from tenslora_search.data.labels import (
    LabelColumn,
    check_complete,
    holds_fractions,
    holds_lists,
    label_cells,
    name_of,
    unlabelled,
)
from tenslora_search.data.sources import Source, read_local
from tenslora_search.spec.table import QuestionError
from tenslora_search.spec.tasks import TASKS

MOST_NAMES = 12
"""Of classes; more are counted."""


def about_data(
    path: str | Path,
    task: str | None,
    columns: Mapping[str, str | Sequence[str]] | None,
    *,
    goal: str | None = None,
    drop_unlabelled: bool = False,
) -> list[str]:
    """Lines: which columns are read, and a split's rows by label. `QuestionError` as a search
    raises it for files, columns and rows without a label.
    """
    row = TASKS[task] if task else None
    source = read_local(Path(path), task)
    roles = find_columns(source, row, columns or {})
    splits = [one for one in source.frames if one == "train" or roles.labelled(source, one)]
    cells = {
        one: label_cells(source.frames[one], roles, f"{one} of {source.origin}") for one in splits
    }
    if not drop_unlabelled:
        check_complete(LabelColumn(cells, roles.label, source.origin))
    lines = [_roles(source, roles)]
    for split, labels in cells.items():
        missing = unlabelled(labels)
        if missing.all():
            raise QuestionError(f"no row of {split} of {source.origin} has a label.")
        left_out = f", {missing.sum():,} without a label left out" if missing.any() else ""
        kind = goal or (row.goal if row else _goal(cells["train"][~unlabelled(cells["train"])]))
        lines.append(f"{split}: {len(labels):,} rows{left_out}; {_labels(labels[~missing], kind)}")
    return lines


def _roles(source: Source, roles: Columns) -> str:
    said = ", ".join(f"{role} from {name!r}" for role, name in roles.roles.items())
    unused = f"; not read: {', '.join(roles.unused)}" if roles.unused else ""
    return f"{source.origin}: {said}{unused}"


def _goal(cells: Any) -> str:
    if holds_lists(cells):
        return "labels"
    return "numbers" if holds_fractions(cells) else "classes"


def _labels(cells: Any, goal: str) -> str:
    """How often each class occurs; of numbers, their span."""
    if goal == "numbers":
        return f"numbers from {min(cells)} to {max(cells)}"
    if goal != "classes":
        return goal
    counts = Counter(name_of(one) for one in cells)
    if len(counts) > MOST_NAMES:
        few = min(counts.values())
        return f"{len(counts):,} classes of {few:,} rows or more"
    said = ", ".join(f"{name:.40} {count:,}" for name, count in sorted(counts.items()))
    return f"{len(counts)} classes: {said}"
