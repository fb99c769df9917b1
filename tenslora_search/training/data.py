"""load_task(): a task and a model's processor become the tensors of three splits; Batches: the order they are seen in.

`fit` and `select` are cut from the task's train split; `report` is its own labelled validation or test split, or, where it
has none, cut from train too. The cut is stratified and seeded; equal inputs are never on both sides of it, and rows of train
that the report split repeats are left out.
"""

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from tenslora_search.spec.table import QuestionError
from tenslora_search.spec.tasks import TASKS, LabelKind, Task, check_reads
from tenslora_search.training.columns import Columns, find_columns
from tenslora_search.training.encode import Rows, encode
from tenslora_search.training.images import ImageProcessor
from tenslora_search.training.labels import read_labels
from tenslora_search.training.models import load_processor, model_kind
from tenslora_search.training.sources import Source, make_local, read_hub, read_local
from tenslora_search.training.splits import cut, held_out_size, strata_of


@dataclass
class Split:
    """Rows of one split as tensors.

    inputs: text: input_ids, attention_mask, for some models token_type_ids, (n, length) int64, padded on the right to the
    longest; image: pixel_values (n, 3, height, width), uint8 as resized: `Batches.take` makes them the model's float32.
    """

    inputs: dict[str, Tensor]
    labels: Tensor  # (n,) int64, or float32 for regression
    lengths: Tensor  # (n,) int64, tokens a row; all 1 for images
    processor: ImageProcessor | None = field(default=None, repr=False)

    def __len__(self) -> int:
        return len(self.labels)

    def take(self, chosen: NDArray[np.bool_]) -> "Split":
        """The rows that are True in chosen (n,)."""
        rows = torch.from_numpy(chosen)
        inputs = {name: value[rows.to(value.device)] for name, value in self.inputs.items()}
        return Split(inputs, self.labels[rows.to(self.labels.device)], self.lengths[rows], self.processor)


GLANCE_ROWS = 500


@dataclass
class TaskData:
    """A task as tensors for one model. `digest`: sha256 of the rows read and of how they were split.

    `columns`: the column of each role; `unused`: columns of text that nobody named, and that are not read.
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
        """(mean, std) of fit's labels: a regression learns (label - mean) / std, whatever its scale; (0, 1) for classes."""
        if not self.regression:
            return 0.0, 1.0
        labels = self.fit.labels.double()
        return float(labels.mean()), float(labels.std(correction=0)) or 1.0

    @cached_property
    def glance(self) -> Split:
        """At most GLANCE_ROWS rows of select, each class in proportion: enough to tell early which trials lag behind."""
        if len(self.select) <= GLANCE_ROWS:
            return self.select
        labels = self.select.labels.cpu().numpy()
        strata = strata_of(labels, regression=self.regression)
        return self.select.take(cut(np.arange(len(labels)), strata, GLANCE_ROWS, np.random.default_rng(0)))


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
    """Load a task by name (from the hub, or from the local files in `data`), or a user's own `data`.

    `labels` says what a user's labels are, where their values do not: class names such as 1.1, or whole-number scores;
    `columns` names columns by role ("text", "text_pair", "image", "label") where they are not found by themselves;
    `fit_rows` caps the rows of fit (one of each class stays), `cache` is the folder for encoded rows.
    Raises `QuestionError`, one line, for anything wrong with the question or the data.
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
            both = f"{len(train) - len(own):,} of {len(train):,} rows of train are in {report_name} too"
            raise QuestionError(f"{both} ({source.origin}); what else there is holds less than two different labels.")
        train, train_labels = train.take(own), train_labels[own]
    parts = _cut(train.groups(), train_labels, found.regression, generator, fit_rows, cut_report=not report_name)
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
        raise QuestionError(f"name a task or give your own data with --data; tasks: {', '.join(TASKS)}.")
    return read_hub(task) if task.needs_network else make_local(task)


def _report_split(source: Source, roles: Columns, task: Task | None) -> str | None:
    """The task's own report split, else the first of test and validation, that carries labels; None: cut it from train."""
    wanted = ("validation", "test") if task and task.report_split.startswith("validation") else ("test", "validation")
    return next((split for split in wanted if split in source.frames and roles.labelled(source, split)), None)


def _check_kind(task: Task | None, roles: Columns, model: str) -> None:
    reads, has = model_kind(model), "image" if roles.kind == "image" else "text"
    what = f"task {task.name}" if task else f"the data (column {roles.inputs[0]!r})"
    check_reads(what, has, model, reads, "" if task else f", or name another column with --column {reads}=NAME")


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
                f"train has {len(labels):,} rows, {groups.max() + 1:,} of them different: too few to cut a {part} split from; "
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


class Batches:
    """The order in which the fit split is seen: a pure function of (split, batch_size, seed), random access by step.

    Every epoch is shuffled anew and holds every row; the last batch is filled up with rows from the epoch's start. Rows of
    like length share a batch: within a stretch of POOL batches rows are ordered by length, then batches are shuffled.
    """

    POOL = 50

    def __init__(self, split: Split, batch_size: int, seed: int) -> None:
        if batch_size < 1:
            raise QuestionError(f"batch_size must be 1 or more; got {batch_size}.")
        self.split, self.batch_size, self.seed = split, batch_size, seed
        self.steps_per_epoch = -(-len(split) // batch_size)
        self._lengths = split.lengths.numpy()
        self._epoch, self._order = -1, np.empty((0, batch_size), dtype=np.int64)

    def __getitem__(self, step: int) -> Tensor:
        """Row numbers of the step counted from 0: (batch_size,) int64."""
        epoch, batch = divmod(step, self.steps_per_epoch)
        if epoch != self._epoch:
            self._epoch, self._order = epoch, self._shuffled(epoch)
        return torch.from_numpy(self._order[batch])

    def plan(self, steps: range) -> tuple[Tensor, list[int]]:
        """Row numbers of all steps, (step, batch_size) int64, and the width that each step's texts are cut to."""
        rows = torch.stack([self[step] for step in steps]) if steps else torch.empty(0, self.batch_size, dtype=torch.int64)
        return rows, [_width(longest) for longest in self.split.lengths[rows].amax(1).tolist()]

    def _shuffled(self, epoch: int) -> np.ndarray:
        """The epoch's batches: (steps_per_epoch, batch_size)."""
        generator = np.random.default_rng([self.seed, epoch])
        order = np.resize(generator.permutation(len(self.split)), self.steps_per_epoch * self.batch_size)
        pool = self.POOL * self.batch_size
        pools = [order[start : start + pool] for start in range(0, len(order), pool)]
        order = np.concatenate([rows[np.argsort(self._lengths[rows], kind="stable")] for rows in pools])
        return generator.permutation(order.reshape(-1, self.batch_size))

    @staticmethod
    def take(split: Split, indices: Tensor, *, width: int | None = None) -> dict[str, Tensor]:
        """Inputs and "labels" of those rows; texts are cut to `width`, or to the longest, rounded up.

        With a width and indices on the split's device nothing waits for that device.
        """
        if split.processor is not None:
            pixels = split.processor.normalise(split.inputs["pixel_values"][indices])
            return {"pixel_values": pixels, "labels": split.labels[indices]}
        width = width or _width(int(split.lengths[indices.cpu()].max()))
        batch = {name: tensor[:, :width][indices] for name, tensor in split.inputs.items()}
        return batch | {"labels": split.labels[indices]}


def _width(longest: int) -> int:
    """Up to a multiple of 8, beyond 32 of 16, beyond 64 of 32, and so on: little padding, and few widths to record."""
    multiple = 8
    while longest > 4 * multiple:
        multiple *= 2
    return -(-longest // multiple) * multiple
