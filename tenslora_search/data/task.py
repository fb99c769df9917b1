"""load_task(): a task and a model's processor become the tensors of three splits.

`fit` and `select` are cut from the task's train split; `report` is its own labelled validation or
test split, or, where it has none, cut from train too. The cut is stratified and seeded; equal
inputs are never on both sides of it, and rows of train that the report split repeats are left out.
"""

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path

import numpy as np
import torch

from tenslora_search.data.batches import Split
from tenslora_search.data.columns import Columns, find_columns
from tenslora_search.data.encode import Rows, encode
from tenslora_search.data.labels import read_labels
from tenslora_search.data.processors import load_processor
from tenslora_search.data.sources import Source, make_local, read_hub, read_local
from tenslora_search.data.splits import cut, held_out_size, strata_of
from tenslora_search.hub.images import ImageProcessor
from tenslora_search.hub.places import model_kind
from tenslora_search.spec.table import QuestionError
from tenslora_search.spec.tasks import TASKS, LabelKind, Task, check_reads

GLANCE_ROWS = 500


@dataclass
class TaskData:
    """A task as tensors for one model. `digest`: sha256 of the rows read and of how they were
    split.

    `columns`: the column of each role; `unused`: columns of text that nobody named, and that are
    not read.
    """

    name: str
    metric: str
    labels: tuple[str, ...]  # names of the classes, empty for regression
    regression: bool
    fit: Split
    select: Split
    report: Split
    digest: str
    columns: Mapping[str, str] = field(default_factory=dict)
    unused: tuple[str, ...] = ()

    @property
    def n_labels(self) -> int:
        """Outputs of the head: the classes, or 1 for regression."""
        return 1 if self.regression else len(self.labels)

    @cached_property
    def units(self) -> tuple[float, float]:
        """(mean, std) of fit's labels: a regression learns (label - mean) / std, whatever its
        scale; (0, 1) for classes.
        """
        if not self.regression:
            return 0.0, 1.0
        labels = self.fit.labels.double()
        return float(labels.mean()), float(labels.std(correction=0)) or 1.0

    @cached_property
    def glance(self) -> Split:
        """At most GLANCE_ROWS rows of select, each class in proportion: enough to tell early which
        trials lag behind.
        """
        if len(self.select) <= GLANCE_ROWS:
            return self.select
        labels = self.select.labels.cpu().numpy()
        strata = strata_of(labels, regression=self.regression)
        return self.select.take(
            cut(np.arange(len(labels)), strata, GLANCE_ROWS, np.random.default_rng(0))
        )


def load_task(
    name: str | None = None,
    *,
    data: Path | str | None = None,
    model: str,
    seed: int = 0,
    max_length: int = 128,
    columns: Mapping[str, str] | None = None,
    labels: LabelKind | None = None,
    cache: Path | str | None = None,
    fit_rows: int | None = None,
) -> TaskData:
    """Load a task by name (from the hub, or from the local files in `data`), or a user's own
    `data`.

    `labels` says what a user's labels are, where their values do not: class names such as 1.1, or
    whole-number scores; `columns` names columns by role ("text", "text_pair", "image", "label")
    where they are not found by themselves; `fit_rows` caps the rows of fit (one of each class
    stays), `cache` is the folder for encoded rows. Raises `QuestionError`, one line, for anything
    wrong with the question or the data.
    """
    task = TASKS[name] if name is not None else None
    source = _read(task, Path(data).expanduser() if data is not None else None)
    roles = find_columns(source, task, columns or {})
    report_name = _report_split(source, roles, task)
    frames = {split: source.frames[split] for split in ("train", report_name) if split}
    found = read_labels(source, roles, task, tuple(frames), labels)
    rows = {split: Rows.of(frame, roles, source, split) for split, frame in frames.items()}
    _check_kind(task, roles, model)

    generator = np.random.default_rng(seed)
    train, train_labels = rows["train"], found.of["train"]
    if report_name:
        own = train.unlike(rows[report_name])
        if len(np.unique(train_labels[own])) < 2:
            both = (
                f"{len(train) - len(own):,} of {len(train):,} rows of train are in "
                f"{report_name} too"
            )
            raise QuestionError(
                f"{both} ({source.origin}); what else there is holds less than two different "
                "labels."
            )
        train, train_labels = train.take(own), train_labels[own]
    parts = _cut(
        train.groups(),
        train_labels,
        found.regression,
        generator,
        fit_rows,
        cut_report=not report_name,
    )
    taken = {part: (train.take(index), train_labels[index]) for part, index in parts.items()}
    if report_name:
        taken["report"] = (rows[report_name], found.of[report_name])

    processor = load_processor(model)
    splits = {}
    for part in ("fit", "select", "report"):
        part_rows, part_labels = taken[part]
        inputs, lengths = encode(part_rows, processor, max_length=max_length, cache=cache)
        kept = processor if isinstance(processor, ImageProcessor) else None
        splits[part] = Split(inputs, torch.tensor(part_labels), lengths, kept)
    digest = hashlib.sha256(repr((roles.kind, found.names)).encode())
    for part in ("fit", "select", "report"):
        digest.update(taken[part][0].digest.encode() + taken[part][1].tobytes())
    metric = task.metric if task else ("pearson_spearman" if found.regression else "accuracy")
    own_name = name or Path(str(data)).stem
    return TaskData(
        own_name,
        metric,
        found.names,
        found.regression,
        digest=digest.hexdigest(),
        columns=roles.roles,
        unused=roles.unused,
        **splits,
    )


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


def _check_kind(task: Task | None, roles: Columns, model: str) -> None:
    reads, has = model_kind(model), "image" if roles.kind == "image" else "text"
    what = f"task {task.name}" if task else f"the data (column {roles.inputs[0]!r})"
    check_reads(
        what,
        has,
        model,
        reads,
        "" if task else f", or name another column with --column {reads}=NAME",
    )


def _cut(
    groups: np.ndarray,
    labels: np.ndarray,
    regression: bool,
    generator: np.random.Generator,
    fit_rows: int | None,
    *,
    cut_report: bool,
) -> dict[str, np.ndarray]:
    """Row numbers, ascending, of fit and select, and of report where that is cut from train too."""
    left = np.arange(len(labels))
    parts: dict[str, np.ndarray] = {}

    def take(n_rows: int) -> tuple[np.ndarray, np.ndarray]:
        numbers = np.unique(groups[left], return_inverse=True)[1]
        chosen = cut(numbers, strata_of(labels[left], regression=regression), n_rows, generator)
        return left[chosen], left[~chosen]

    for part in ("report", "select") if cut_report else ("select",):
        parts[part], left = take(held_out_size(len(labels)))
        if not len(parts[part]):
            raise QuestionError(
                f"train has {len(labels):,} rows, {groups.max() + 1:,} of them different: too few "
                f"to cut a {part} split from; "
                "a class needs 3 different rows, or 2 where there is a test split."
            )
    if fit_rows is not None:
        if fit_rows < 1:
            raise QuestionError(f"fit_rows must be 1 or more; got {fit_rows}.")
        if fit_rows < len(left):
            capped = take(fit_rows)[0]
            left = capped if len(capped) else left
    parts["fit"] = left
    return parts
