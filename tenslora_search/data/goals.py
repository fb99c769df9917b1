"""GOALS: what is learnt: how labels are read, what the model puts out, how a loss is taken, how
answers become a score. One entry a goal, in this file.

A goal calls the model itself, because what is before its loss may be too large to exist at once
(trial x row x token x vocabulary). One whose readout is the model's own says `n_outputs` 0: then no
head is made, `losses` runs `model.base_model` and takes the loss over chunks of rows, each from the
frozen output embeddings. What a batch must hold for that, such as a mask of the tokens that count,
`encode` puts among the inputs, which are cut to a batch's width.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, ClassVar, Literal, Protocol, Self

import numpy as np
from numpy.typing import NDArray
from torch import Tensor, nn
from torch.nn import functional

from tenslora_search.data.encode import Rows, encode
from tenslora_search.data.labels import (
    LabelColumn,
    Targets,
    holds_fractions,
    holds_lists,
    read_classes,
    read_label_sets,
    read_numbers,
)
from tenslora_search.data.metrics import METRICS
from tenslora_search.spec.metrics import GOAL_METRICS
from tenslora_search.spec.table import QuestionError, Table, shortened

Reads = Literal["text", "image"]


class Goal(Protocol):
    """What is learnt. The class is the entry of `GOALS`; an instance knows the task's labels."""

    name: ClassVar[str]
    metrics: ClassVar[tuple[str, ...]] = ()
    """of a goal from outside: one or more of METRICS that score its answers, the usual one first"""
    auto: ClassVar[Mapping[Reads, str]]
    """transformers' class, by what the model reads"""
    pipeline: ClassVar[Mapping[Reads, str]]
    """what model hubs call the job"""

    @property
    def metric(self) -> str: ...

    @property
    def names(self) -> tuple[str, ...]:
        """Of the classes or labels; empty where answers have none."""
        ...

    @property
    def n_outputs(self) -> int:
        """Outputs of the readout that each trial has; 0: the model's own, frozen."""
        ...

    @property
    def kept(self) -> Mapping[str, Any]:
        """What a trial's state holds besides the weights, as JSON; `again` takes it."""
        ...

    def encode(
        self, rows: Rows, processor: Any, *, max_length: int, cache: Path | str | None
    ) -> tuple[dict[str, Tensor], Tensor]:
        """The rows as input tensors, and their lengths (n,)."""
        ...

    @classmethod
    def suits(cls, cells: Any) -> bool:
        """Whether labels that nobody explained are to be learnt so."""
        ...

    @classmethod
    def read(cls, column: LabelColumn) -> Targets: ...

    @staticmethod
    def strata(targets: NDArray) -> NDArray[np.int64]:
        """The stratum of each row, (n,): splits hold them in proportion."""
        ...

    @classmethod
    def of(cls, names: tuple[str, ...], metric: str, fit: NDArray) -> Self:
        """The goal of a task; `fit` are the targets that trials learn from."""
        ...

    @classmethod
    def again(cls, names: tuple[str, ...], metric: str, kept: Mapping[str, Any]) -> Self:
        """The goal of a trial that was saved."""
        ...

    def configure(self, config: Any) -> None:
        """Writes into a model's config how many outputs there are and what they mean."""
        ...

    def losses(self, model: nn.Module, batch: Mapping[str, Tensor], n_trials: int) -> Tensor:
        """The mean loss of each trial on one batch that all of them see: (trial,)."""
        ...

    def answers(self, model: nn.Module, batch: Mapping[str, Tensor], n_trials: int) -> Tensor:
        """(trial, row, ...) in float32: what `score` takes, row by row."""
        ...

    def score(self, answers: NDArray, targets: NDArray) -> float:
        """One trial's score; NaN where an answer is not finite."""
        ...

    def answer_code(self, offset: str) -> str:
        """Python that gives the answer to `inputs` by `model`, for a model card. `offset`: text
        that adds what the head cannot.
        """
        ...


@dataclass(frozen=True)
class _Readout:
    """What goals share whose answers come from a head of each trial's own."""

    auto: ClassVar[Mapping[Reads, str]] = {
        "text": "AutoModelForSequenceClassification",
        "image": "AutoModelForImageClassification",
    }
    pipeline: ClassVar[Mapping[Reads, str]] = {
        "text": "text-classification",
        "image": "image-classification",
    }
    problem_type: ClassVar[str]
    metrics: ClassVar[tuple[str, ...]] = ()

    names: tuple[str, ...] = ()
    metric: str = ""
    kept: Mapping[str, Any] = field(default_factory=dict)

    @property
    def n_outputs(self) -> int:
        return len(self.names)

    @classmethod
    def of(cls, names: tuple[str, ...], metric: str, fit: NDArray) -> Self:
        return cls(names, metric)

    @classmethod
    def again(cls, names: tuple[str, ...], metric: str, kept: Mapping[str, Any]) -> Self:
        return cls(names, metric)

    def configure(self, config: Any) -> None:
        config.num_labels = self.n_outputs
        config.problem_type = self.problem_type
        if self.names:
            config.id2label = dict(enumerate(self.names))
            config.label2id = {name: number for number, name in enumerate(self.names)}

    def encode(
        self, rows: Rows, processor: Any, *, max_length: int, cache: Path | str | None
    ) -> tuple[dict[str, Tensor], Tensor]:
        return encode(rows, processor, max_length=max_length, cache=cache)

    def score(self, answers: NDArray, targets: NDArray) -> float:
        finite = bool(np.isfinite(answers).all())
        return METRICS[self.metric](answers, targets) if finite else float("nan")


class Classes(_Readout):
    """One class a row: cross-entropy; answers are logits."""

    name: ClassVar[str] = "classes"
    problem_type: ClassVar[str] = "single_label_classification"

    @classmethod
    def suits(cls, cells: Any) -> bool:
        return True

    @classmethod
    def read(cls, column: LabelColumn) -> Targets:
        return read_classes(column)

    @staticmethod
    def strata(targets: NDArray) -> NDArray[np.int64]:
        return targets

    def losses(self, model: nn.Module, batch: Mapping[str, Tensor], n_trials: int) -> Tensor:
        logits = logits_of(model, batch, n_trials)
        each = functional.cross_entropy(
            logits.flatten(0, 1), batch["labels"].repeat(n_trials), reduction="none"
        )
        return each.view(n_trials, -1).mean(1)

    def answers(self, model: nn.Module, batch: Mapping[str, Tensor], n_trials: int) -> Tensor:
        return logits_of(model, batch, n_trials)

    def answer_code(self, offset: str) -> str:
        return "model.config.id2label[int(model(**inputs).logits.argmax())]"


class Labels(_Readout):
    """Any number of labels a row: binary cross-entropy of each; answers are probabilities."""

    name: ClassVar[str] = "labels"
    problem_type: ClassVar[str] = "multi_label_classification"

    @classmethod
    def suits(cls, cells: Any) -> bool:
        return holds_lists(cells)

    @classmethod
    def read(cls, column: LabelColumn) -> Targets:
        return read_label_sets(column)

    @staticmethod
    def strata(targets: NDArray) -> NDArray[np.int64]:
        """A row counts to the rarest of its labels; those without any are a stratum too."""
        counts = np.where(targets > 0, targets.sum(axis=0), np.inf)
        return np.where(targets.any(axis=1), counts.argmin(axis=1), targets.shape[1])

    def losses(self, model: nn.Module, batch: Mapping[str, Tensor], n_trials: int) -> Tensor:
        logits = logits_of(model, batch, n_trials)
        labels = batch["labels"].expand_as(logits)
        each = functional.binary_cross_entropy_with_logits(logits, labels, reduction="none")
        return each.mean((1, 2))

    def answers(self, model: nn.Module, batch: Mapping[str, Tensor], n_trials: int) -> Tensor:
        return logits_of(model, batch, n_trials).sigmoid()

    def answer_code(self, offset: str) -> str:
        return (
            "[model.config.id2label[n] for n, logit in enumerate(model(**inputs).logits[0]) "
            "if logit > 0]"
        )


class Numbers(_Readout):
    """A number a row: squared error of (label - mean) / std, so that the labels' scale makes no
    difference; answers are in the labels' units.
    """

    name: ClassVar[str] = "numbers"
    problem_type: ClassVar[str] = "regression"

    @property
    def n_outputs(self) -> int:
        return 1

    @property
    def units(self) -> tuple[float, float]:
        """(mean, standard deviation) of the labels that are learnt from."""
        mean, std = self.kept.get("units", (0.0, 1.0))
        return float(mean), float(std)

    @classmethod
    def suits(cls, cells: Any) -> bool:
        return holds_fractions(cells)

    @classmethod
    def read(cls, column: LabelColumn) -> Targets:
        return read_numbers(column)

    @staticmethod
    def strata(targets: NDArray) -> NDArray[np.int64]:
        """Tenths in the order of the labels."""
        ranks = np.argsort(np.argsort(targets, kind="stable"), kind="stable")
        return ranks * 10 // len(targets)

    @classmethod
    def of(cls, names: tuple[str, ...], metric: str, fit: NDArray) -> Self:
        labels = fit.astype(np.float64)
        units = float(labels.mean()), float(labels.std()) or 1.0
        return cls(names, metric, {"units": units})

    @classmethod
    def again(cls, names: tuple[str, ...], metric: str, kept: Mapping[str, Any]) -> Self:
        return cls(names, metric, {"units": kept.get("units", (0.0, 1.0))})

    def losses(self, model: nn.Module, batch: Mapping[str, Tensor], n_trials: int) -> Tensor:
        mean, std = self.units
        logits = logits_of(model, batch, n_trials)[..., 0]
        return (logits - (batch["labels"] - mean) / std).square().mean(1)

    def answers(self, model: nn.Module, batch: Mapping[str, Tensor], n_trials: int) -> Tensor:
        mean, std = self.units
        return logits_of(model, batch, n_trials)[..., 0] * std + mean

    def answer_code(self, offset: str) -> str:
        return f"model(**inputs).logits.item(){offset}"


def logits_of(model: nn.Module, batch: Mapping[str, Tensor], n_trials: int) -> Tensor:
    """(trial, row, output) in float32; every trial sees the same rows."""
    return model(**side_by_side(model, batch, n_trials)).logits.float().unflatten(0, (n_trials, -1))


def side_by_side(model: nn.Module, batch: Mapping[str, Tensor], n_trials: int) -> dict[str, Tensor]:
    """The batch's inputs once for each trial, (trial * row, ...), in the model's type."""
    dtype = next(model.parameters()).dtype
    inputs = {
        name: value.to(dtype) if value.is_floating_point() else value
        for name, value in batch.items()
        if name != "labels"
    }
    return {
        name: value.repeat(n_trials, *(1,) * (value.ndim - 1)) for name, value in inputs.items()
    }


class _Goals(Table[type[Goal]]):
    """Tells spec which metrics score a goal from outside: `metrics` of its class.

    It is tried before the package's own, which take any labels.
    """

    def add(self, name: str, entry: Any) -> None:
        metrics = getattr(entry, "metrics", ())
        if not metrics or not isinstance(metrics, tuple | list):
            raise QuestionError(
                f"goal {name} names no metrics: its class says which of METRICS score its answers, "
                f"such as metrics = ('accuracy',); got {shortened(metrics)}."
            )
        super().add(name, entry)
        try:
            GOAL_METRICS.add(name, tuple(metrics))
        except QuestionError:
            super().remove(name)
            raise
        self._entries = {name: self._entries.pop(name), **self._entries}

    def remove(self, name: str) -> None:
        super().remove(name)
        if name in GOAL_METRICS.added:
            GOAL_METRICS.remove(name)


GOALS: Table[type[Goal]] = _Goals(
    "goal", {"labels": Labels, "numbers": Numbers, "classes": Classes}
)
"""In the order in which they are tried where nobody says what the labels are."""


def goal_for(cells: Any) -> str:
    """The first goal that the labels suit."""
    return next(name for name, goal in GOALS.items() if goal.suits(cells))
