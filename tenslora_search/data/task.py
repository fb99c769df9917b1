"""load_task(): a task and a model's processor become the tensors of three splits.

`fit` and `select` are cut from the task's train split; `report` is its own labelled validation or
test split, or, where it has none, cut from train too. The cut is stratified and seeded; equal
inputs are never on both sides of it, and rows of train that the report split repeats are left out.
"""

import hashlib
import logging
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property
from pathlib import Path

import numpy as np

from tenslora_search.data.batches import Split
from tenslora_search.data.columns import Columns, find_columns
from tenslora_search.data.goals import GOALS, Goal, check_writes, goal_for, goal_of_text
from tenslora_search.data.labels import (
    LabelColumn,
    Targets,
    check_complete,
    label_cells,
    unlabelled,
)
from tenslora_search.data.parts import Part, group_column, three_parts
from tenslora_search.data.processors import load_processor
from tenslora_search.data.rows import Rows
from tenslora_search.data.sources import Source, make_local, read_hub, read_local
from tenslora_search.data.spellings import tell_of_spellings
from tenslora_search.data.splits import cut
from tenslora_search.data.worded import right_answers
from tenslora_search.hub.lines import numbered
from tenslora_search.hub.places import model_digest, model_kind, model_writes
from tenslora_search.spec.metrics import metric_for
from tenslora_search.spec.paths import typed
from tenslora_search.spec.table import QuestionError
from tenslora_search.spec.tasks import TASKS, Task, check_reads

GLANCE_ROWS = 500
LOGGER = logging.getLogger("tenslora_search")


@dataclass
class TaskData:
    """A task as tensors for one model. `digest`: sha256 of the rows read and of how they were
    split.

    `columns`: the column of each role; `unused`: of the columns that are not read, those of text,
    where the inputs were found by name: perhaps they were meant (`Look.unread` has all).
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
    """what stayed on one side of the cut: `by` a column, or near rows, and how many"""
    absent: Mapping[str, tuple[str, ...]] = field(default_factory=dict)
    """of a class or label that some part has no row of: those parts"""

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
    name: str | None = None, *, data: Path | str | None = None, model: str, seed: int = 0,
    max_length: int = 128, columns: Mapping[str, str | Sequence[str]] | None = None,
    goal: str | None = None, metric: str | None = None, drop_unlabelled: bool = False,
    cache: Path | str | None = None, fit_rows: int | None = None, group: str | None = None,
    expected: Mapping[str, str | None] | None = None,
) -> TaskData:  # fmt: skip
    """Loads a task by name (from the hub, or from the local files in `data`), or own `data`.

    `goal` says what is learnt, where the data do not; `columns` names columns by role; `fit_rows`
    caps the rows of fit (one of each class stays); `group` names a column whose equal values stay
    on one side of a cut, instead of rows that are nearly the same; `expected` has the digests of
    "data" and "model" that a search began with. `QuestionError` for anything wrong with the
    question or the data.
    """
    _check_digest("model", model, model_digest(model), expected)
    task = TASKS[name] if name is not None else None
    asked = read_rows(task, data, columns, goal, drop_unlabelled, model)
    source, roles, report, chosen, targets = asked
    metric = metric_for(chosen, metric or (task.metric if task else None))
    splits = ["train", *filter(None, [report])]
    found = {split: _part(source, roles, split, targets) for split in splits}
    check_model(task, roles, chosen, model)
    if group is not None:
        found["train"] = replace(found["train"], groups=group_column(source, group))
    taken, grouped = three_parts(source, chosen, found, report, seed, fit_rows, cache)
    digest = _digest(roles, targets, taken)
    _check_digest("data", source.origin, digest, expected)
    learnt = GOALS[chosen].of(targets.names, metric, taken["fit"].targets)
    parts = _encoded(taken, learnt, model, max_length, cache)
    unused = tuple(name for name in roles.unused if name != group)
    about = {"digest": digest, "columns": roles.roles, "unused": unused}
    about["grouped"] = {"by": group or "near", **grouped}
    about["absent"] = _absent(targets.names, taken)
    return TaskData(name or Path(str(data)).stem, learnt, **parts, **about)


def _absent(names: Sequence[str], parts: Mapping[str, Part]) -> dict[str, tuple[str, ...]]:
    """For each class or label that a part has no row of, those parts; of class numbers (n,), or of
    marks (n, n_labels).
    """
    there = {
        part: set(
            np.flatnonzero(one.targets.any(0)) if one.targets.ndim > 1 else one.targets.tolist()
        )
        for part, one in parts.items()
    }
    lacking = {
        name: tuple(part for part in ("fit", "select", "report") if k not in there[part])
        for k, name in enumerate(names)
    }
    return {name: without for name, without in lacking.items() if without}


def read_rows(
    task: Task | None,
    data: Path | str | None,
    columns: Mapping[str, str | Sequence[str]] | None,
    goal: str | None,
    drop_unlabelled: bool,
    model: str,
) -> tuple[Source, Columns, str | None, str, Targets]:
    """What is read before anything is encoded: the files, the columns by role, the split that
    report is, the name of the goal, and the labels.
    """
    source = _read(task, typed(data) if data is not None else None)
    asked = task.goal if task else goal
    roles = find_columns(source, task, columns or {}, GOALS[asked].kinds if asked else None)
    report = _report_split(source, roles, task)
    splits = ["train", *filter(None, [report])]
    if roles.wording:
        chosen, targets = _worded_targets(source, roles, splits, asked, model)
    else:
        chosen, targets = _targets(source, roles, splits, asked, drop_unlabelled, task is None)
    return source, roles, report, chosen, targets


def _part(source: Source, roles: Columns, split: str, targets: Targets) -> Part:
    return Part(Rows.of(source.frames[split], roles, source, split), targets.of[split])


def _targets(
    source: Source, roles: Columns, splits: Sequence[str], goal: str | None, is_cut: bool,
    is_own: bool,
) -> tuple[str, Targets]:  # fmt: skip
    """The name of the goal, the one asked for or the one found, and what it reads."""
    is_certain = is_own and goal is not None
    column = _label_column(source, roles, splits, is_certain=is_certain, is_cut=is_cut)
    chosen = goal or goal_for(column.cells["train"])
    targets = GOALS[chosen].read(column)
    tell_of_spellings(targets, column)
    return chosen, targets


def _worded_targets(
    source: Source, roles: Columns, splits: Sequence[str], goal: str | None, model: str
) -> tuple[str, Targets]:
    """The name of the goal, and which answer is right where there are several."""
    assert roles.wording is not None
    what = f"the data (columns {', '.join(roles.inputs)})"
    chosen = goal or goal_of_text(roles.wording.kind, model_writes(model), what, model)
    of = {
        split: right_answers(source.frames[split], roles, f"{split} of {source.origin}")
        for split in splits
    }
    return chosen, Targets(of)


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
    there = [split for split in wanted if split in source.frames]
    found = next((split for split in there if roles.labelled(source, split)), None)
    for split in there[: there.index(found) if found else None]:
        LOGGER.warning(
            "%s of %s is left out: it has no labels, or no texts to learn, by the columns of train "
            "(%s); its columns are %s. What is reported is scored on %s",
            split, source.origin, ", ".join(dict.fromkeys(roles.roles.values())),
            ", ".join(map(str, source.frames[split])), found or "rows cut from train",
        )  # fmt: skip
    return found


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
            LOGGER.warning(
                "left out %s of %s rows of %s of %s without a label: row %s",
                f"{len(rows):,}", f"{len(cells):,}", split, source.origin, numbered(rows, 20),
            )  # fmt: skip
        if missing.all():
            raise QuestionError(f"no row of {split} of {source.origin} has a label.")
        kept[split] = cells[~missing]
        source.frames[split] = source.frames[split][~missing]
    return LabelColumn(kept, column.name, column.origin, column.class_names, column.is_certain)


def check_model(task: Task | None, roles: Columns, goal: str, model: str) -> None:
    """`QuestionError` for a model that does not read the rows, or does not write as it should."""
    reads, has = model_kind(model), "image" if roles.kind == "image" else "text"
    what = f"task {task.name}" if task else f"the data (column {roles.inputs[0]!r})"
    check_reads(
        what,
        has,
        model,
        reads,
        "" if task else f", or name another column with --column {reads}=NAME",
    )
    check_writes(goal, model_writes(model), model)


def _encoded(
    taken: Mapping[str, Part], goal: Goal, model: str, max_length: int, cache: Path | str | None
) -> dict[str, Split]:
    """The parts as tensors."""
    processor = load_processor(model)
    return {
        part: goal.encode(
            taken[part].rows, taken[part].targets, processor, max_length=max_length, cache=cache
        )
        for part in ("fit", "select", "report")
    }


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
