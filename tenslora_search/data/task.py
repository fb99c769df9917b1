"""load_task(): a task and a model's processor become the tensors of three splits.

`fit` and `select` are cut from the task's train split; `report` is its own labelled validation or
test split, or, where it has none, cut from train too. The cut is stratified and seeded; rows that
are nearly the same, or of one group of a column that is named, are never on both sides of it, and
rows of train that the report split repeats are left out.
"""

import hashlib
import logging
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property
from pathlib import Path

import numpy as np
import torch

from tenslora_search.data.batches import Split
from tenslora_search.data.columns import Columns, find_columns
from tenslora_search.data.encode import Rows
from tenslora_search.data.goals import GOALS, Goal, goal_for
from tenslora_search.data.labels import (
    LabelColumn,
    Targets,
    check_complete,
    label_cells,
    unlabelled,
)
from tenslora_search.data.parts import Part, group_column, three_parts
from tenslora_search.data.processors import load_processor
from tenslora_search.data.sources import Source, make_local, read_hub, read_local
from tenslora_search.data.splits import cut
from tenslora_search.hub.images import ImageProcessor
from tenslora_search.hub.places import model_digest, model_kind
from tenslora_search.spec.metrics import metric_for
from tenslora_search.spec.table import QuestionError
from tenslora_search.spec.tasks import TASKS, Task, check_reads

GLANCE_ROWS = 500
LOGGER = logging.getLogger("tenslora_search")


@dataclass
class TaskData:
    """A task as tensors for one model. `digest`: sha256 of the rows read and of how they were
    split.

    `columns`: the column of each role; `unused`: columns of text that nobody named, and that are
    not read. `grouped`: what stayed on one side of the cut: `by` a column, or near rows, and the
    numbers of `rows` and `groups` and of the `largest` group.
    """

    name: str
    goal: Goal
    fit: Split
    select: Split
    report: Split
    digest: str
    columns: Mapping[str, str] = field(default_factory=dict)
    unused: tuple[str, ...] = ()
    grouped: Mapping[str, str | int] = field(default_factory=dict)

    @cached_property
    def glance(self) -> Split:
        """At most GLANCE_ROWS rows of select, each class in proportion: enough to tell early which
        trials lag behind.
        """
        if len(self.select) <= GLANCE_ROWS:
            return self.select
        strata = self.goal.strata(self.select.labels.cpu().numpy())
        return self.select.take(
            cut(np.arange(len(strata)), strata, GLANCE_ROWS, np.random.default_rng(0))
        )


def load_task(
    name: str | None = None,
    *,
    data: Path | str | None = None,
    model: str,
    seed: int = 0,
    max_length: int = 128,
    columns: Mapping[str, str | Sequence[str]] | None = None,
    goal: str | None = None,
    metric: str | None = None,
    drop_unlabelled: bool = False,
    cache: Path | str | None = None,
    fit_rows: int | None = None,
    group: str | None = None,
    expected: Mapping[str, str | None] | None = None,
) -> TaskData:
    """Loads a task by name (from the hub, or from the local files in `data`), or own `data`.

    `goal` says what labels are, where their values do not; `columns` names columns by role;
    `drop_unlabelled` leaves out rows without a label; `fit_rows` caps the rows of fit (one of each
    class stays); `group` names a column whose equal values stay on one side of a cut (a patient, a
    document), instead of rows that are nearly the same; `expected` has the digests of "data" and
    "model" that a search began with. `QuestionError` for anything wrong with question or data.
    """
    _check_digest("model", model, model_digest(model), expected)
    task = TASKS[name] if name is not None else None
    source, roles, report, chosen, targets = read_rows(task, data, columns, goal, drop_unlabelled)
    metric = metric_for(chosen, metric or (task.metric if task else None))
    splits = ["train", *filter(None, [report])]
    found = {split: _part(source, roles, split, targets) for split in splits}
    if group is not None:
        found["train"] = replace(found["train"], groups=group_column(source, group))
    check_kind(task, roles, model)
    taken, grouped = three_parts(source, chosen, found, report, seed, fit_rows, cache)
    digest = _digest(roles, targets, taken)
    _check_digest("data", source.origin, digest, expected)
    learnt = GOALS[chosen].of(targets.names, metric, taken["fit"].targets)
    parts = _encoded(taken, learnt, model, max_length, cache)
    unused = tuple(name for name in roles.unused if name != group)
    about = {"digest": digest, "columns": roles.roles, "unused": unused}
    about["grouped"] = {"by": group or "near", **grouped}
    return TaskData(name or Path(str(data)).stem, learnt, **parts, **about)


def read_rows(
    task: Task | None,
    data: Path | str | None,
    columns: Mapping[str, str | Sequence[str]] | None,
    goal: str | None,
    drop_unlabelled: bool,
) -> tuple[Source, Columns, str | None, str, Targets]:
    """What is read before anything is encoded: the files, the columns by role, the split that
    report is, the name of the goal, and the labels.
    """
    source = _read(task, Path(data).expanduser() if data is not None else None)
    roles = find_columns(source, task, columns or {})
    report = _report_split(source, roles, task)
    splits = ["train", *filter(None, [report])]
    chosen, targets = _targets(source, roles, splits, task, goal, drop_unlabelled)
    return source, roles, report, chosen, targets


def _part(source: Source, roles: Columns, split: str, targets: Targets) -> Part:
    return Part(Rows.of(source.frames[split], roles, source, split), targets.of[split])


def _targets(
    source: Source,
    roles: Columns,
    splits: Sequence[str],
    task: Task | None,
    goal: str | None,
    drop_unlabelled: bool,
) -> tuple[str, Targets]:
    """The name of the goal, the task's, the one asked for or the one found, and what it reads."""
    is_certain = goal is not None
    column = _label_column(source, roles, splits, is_certain=is_certain, is_cut=drop_unlabelled)
    chosen = task.goal if task else goal or goal_for(column.cells["train"])
    return chosen, GOALS[chosen].read(column)


def _read(task: Task | None, path: Path | None) -> Source:
    if path is not None:
        return read_local(path, task.name if task else None)
    if task is None:
        raise QuestionError(
            f"name a task or give your own data with --data; tasks: {', '.join(TASKS)}."
        )
    return read_hub(task) if task.needs_network else make_local(task)


def _report_split(source: Source, roles: Columns, task: Task | None) -> str | None:
    """The task's own report split, else the first of test and validation, that carries labels;
    None: cut it from train.
    """
    wanted = (
        ("validation", "test")
        if task and task.report_split.startswith("validation")
        else ("test", "validation")
    )
    return next(
        (split for split in wanted if split in source.frames and roles.labelled(source, split)),
        None,
    )


def _label_column(
    source: Source, roles: Columns, splits: Sequence[str], *, is_certain: bool, is_cut: bool
) -> LabelColumn:
    """The label of every row; with `is_cut` rows without one are left out, of the frames too."""
    cells = {
        split: label_cells(source.frames[split], roles, f"{split} of {source.origin}")
        for split in splits
    }
    only = len(roles.labels) == 1
    names = source.class_names.get(roles.labels[0]) if only else roles.labels
    column = LabelColumn(cells, roles.label, source.origin, names, is_certain)
    column = _without_unlabelled(source, column) if is_cut else column
    check_complete(column)
    return column


def _without_unlabelled(source: Source, column: LabelColumn) -> LabelColumn:
    """The column, and the source's frames, without rows that have no label; says which they were.

    The frames' index still holds the rows' numbers.
    """
    kept = {}
    for split, cells in column.cells.items():
        missing = unlabelled(cells)
        if missing.any():
            rows = (cells.index[missing] + 1).tolist()
            listed = ", ".join(map(str, rows[:20])) + (", ..." if len(rows) > 20 else "")
            LOGGER.warning(
                "left out %s of %s rows of %s of %s without a label: row %s",
                f"{len(rows):,}", f"{len(cells):,}", split, source.origin, listed,
            )  # fmt: skip
        if missing.all():
            raise QuestionError(f"no row of {split} of {source.origin} has a label.")
        kept[split] = cells[~missing]
        source.frames[split] = source.frames[split][~missing]
    return LabelColumn(kept, column.name, column.origin, column.class_names, column.is_certain)


def check_kind(task: Task | None, roles: Columns, model: str) -> None:
    """`QuestionError` if the model reads something else than the rows hold."""
    reads, has = model_kind(model), "image" if roles.kind == "image" else "text"
    what = f"task {task.name}" if task else f"the data (column {roles.inputs[0]!r})"
    check_reads(
        what,
        has,
        model,
        reads,
        "" if task else f", or name another column with --column {reads}=NAME",
    )


def _encoded(
    taken: Mapping[str, Part], goal: Goal, model: str, max_length: int, cache: Path | str | None
) -> dict[str, Split]:
    """The parts as tensors."""
    processor, splits = load_processor(model), {}
    kept = processor if isinstance(processor, ImageProcessor) else None
    for part in ("fit", "select", "report"):
        rows, targets = taken[part].rows, torch.tensor(taken[part].targets)
        inputs, lengths = goal.encode(rows, processor, max_length=max_length, cache=cache)
        splits[part] = Split(inputs, targets, lengths, kept)
    return splits


def _digest(roles: Columns, targets: Targets, taken: Mapping[str, Part]) -> str:
    digest = hashlib.sha256(repr((roles.kind, targets.names)).encode("utf-8", "replace"))
    for part in ("fit", "select", "report"):
        digest.update(taken[part].rows.digest.encode() + taken[part].targets.tobytes())
    return digest.hexdigest()


def _check_digest(
    what: str, name: str, found: str | None, expected: Mapping[str, str | None] | None
) -> None:
    wanted = (expected or {}).get(what)
    if wanted and found != wanted:
        raise QuestionError(
            f"the {what} {name} has changed since the search began; begin another in a new --out, "
            "or with --force."
        )
