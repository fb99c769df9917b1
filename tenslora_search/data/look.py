"""look(): what a search would read of local data, told before anything is trained."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from tenslora_search.data.parts import group_column
from tenslora_search.data.rows import Rows
from tenslora_search.data.task import check_model, read_rows
from tenslora_search.spec.metrics import metric_for
from tenslora_search.spec.tasks import TASKS

MOST_LISTED = 12
"""Classes whose rows are counted one by one."""


@dataclass(frozen=True, slots=True)
class Look:
    """What was found."""

    columns: Mapping[str, str]
    """by role"""
    unread: Sequence[str]
    """all other columns, of any kind; `TaskData.unused` has those of text alone"""
    goal: str
    metric: str
    rows: Mapping[str, int]
    """by split; where only train is read, select and report are cut from it"""
    classes: Mapping[str, int]
    """rows of train by class or label; empty where labels are numbers or texts"""

    def lines(self) -> list[str]:
        """As the command prints it."""
        reads = ", ".join(f"{role}={name}" for role, name in self.columns.items())
        unused = f"; unused: {', '.join(self.unread)}" if self.unread else ""
        rows = ", ".join(f"{count:,} rows of {split}" for split, count in self.rows.items())
        told = [f"reads {reads}{unused}", f"{rows}; goal {self.goal}, metric {self.metric}"]
        if self.classes:
            most = sorted(self.classes.items(), key=lambda one: -one[1])
            listed = ", ".join(f"{name} {count:,}" for name, count in most[:MOST_LISTED])
            more = f", and {len(most) - MOST_LISTED:,} more" if len(most) > MOST_LISTED else ""
            told.append(f"{len(most):,} classes: {listed}{more}")
        return told


def look(
    name: str | None,
    *,
    data: str | None,
    model: str,
    columns: Mapping[str, str | Sequence[str]] | None,
    goal: str | None,
    metric: str | None,
    drop_unlabelled: bool,
    group: str | None = None,
) -> Look:
    """Reads the files as `load_task` does, and stops before texts and images are encoded; the same
    `QuestionError` for what is wrong with them.
    """
    task = TASKS[name] if name is not None else None
    asked = read_rows(task, data, columns, goal, drop_unlabelled, model)
    source, roles, report, chosen, targets = asked
    metric = metric_for(chosen, metric or (task.metric if task else None))
    check_model(task, roles, chosen, model)
    if group is not None:
        _ = group_column(source, group)
    splits = ["train", *filter(None, [report])]
    if roles.kind != "image":  # an empty cell is told now, not when the search has started
        _ = [Rows.of(source.frames[split], roles, source, split) for split in splits]
    used = {*roles.inputs, *roles.labels, group}
    return Look(
        columns=roles.roles,
        unread=tuple(one for one in map(str, source.frames["train"]) if one not in used),
        goal=chosen,
        metric=metric,
        rows={split: len(source.frames[split]) for split in splits},
        classes=_counts(targets.names, targets.of["train"]) if targets.names else {},
    )


def _counts(names: Sequence[str], targets: np.ndarray) -> dict[str, int]:
    """Rows by name; of class numbers (n,), or of marks (n, n_labels)."""
    marks = targets.ndim > 1
    counts = targets.sum(0) if marks else np.bincount(targets, minlength=len(names))
    return {name: int(count) for name, count in zip(names, counts, strict=True)}
