"""Goal: what a goal says of itself; Readout: what goals share that are read from a head."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, ClassVar, Literal, Protocol, Self

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from tenslora_search.data.batches import Split
from tenslora_search.data.encode import encode
from tenslora_search.data.labels import LabelColumn, Targets
from tenslora_search.data.metrics import METRICS
from tenslora_search.data.rows import Rows
from tenslora_search.hub.images import ImageProcessor
from tenslora_search.spec.families import Writes

Reads = Literal["text", "image"]


class Goal(Protocol):
    """What is learnt. The class is the entry of `GOALS`; an instance knows the task's labels."""

    name: ClassVar[str]
    metrics: ClassVar[tuple[str, ...]] = ()
    """one of METRICS or more that score its answers, the usual one first; of a goal of the package
    a literal, which spec reads (`spec/declared.py`)
    """
    kinds: ClassVar[tuple[str, ...]] = ()
    """what it reads of text that is to be written (`spec.wordings`); none: it reads labels"""
    writes: ClassVar[Writes] = ""
    """what a model must be, where its own output is read"""
    is_last: ClassVar[bool] = False
    """whether others are tried first where nobody says what is to be learnt"""
    auto: ClassVar[Mapping[Reads, str]]
    """transformers' class, by what the model reads"""
    pipeline: ClassVar[Mapping[Reads, str]]
    """what model hubs call the job"""
    pipeline_options: ClassVar[str] = "truncation=True"
    """Python: of transformers' pipeline for texts, so that it answers as training asked"""

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
        self, rows: Rows, targets: NDArray, processor: Any, *,
        max_length: int, cache: Path | str | None,
    ) -> Split:  # fmt: skip
        """The rows, and what is to be learnt of them, as tensors."""
        ...

    def inputs(self, batch: Mapping[str, Tensor]) -> dict[str, Tensor]:
        """What the model reads of a batch, once a row."""
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
class Readout:
    """What goals share whose answers come from a head of each trial's own."""

    auto: ClassVar[Mapping[Reads, str]] = {
        "text": "AutoModelForSequenceClassification",
        "image": "AutoModelForImageClassification",
    }
    pipeline: ClassVar[Mapping[Reads, str]] = {
        "text": "text-classification",
        "image": "image-classification",
    }
    pipeline_options: ClassVar[str] = "truncation=True"
    problem_type: ClassVar[str]
    metrics: ClassVar[tuple[str, ...]] = ()
    kinds: ClassVar[tuple[str, ...]] = ()
    writes: ClassVar[Writes] = ""
    is_last: ClassVar[bool] = False

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
        self, rows: Rows, targets: NDArray, processor: Any, *,
        max_length: int, cache: Path | str | None,
    ) -> Split:  # fmt: skip
        inputs, lengths = encode(rows, processor, max_length=max_length, cache=cache)
        kept = processor if isinstance(processor, ImageProcessor) else None
        return Split(inputs, torch.tensor(targets), lengths, kept)

    def inputs(self, batch: Mapping[str, Tensor]) -> dict[str, Tensor]:
        return {name: value for name, value in batch.items() if name != "labels"}

    def score(self, answers: NDArray, targets: NDArray) -> float:
        finite = bool(np.isfinite(answers).all())
        return METRICS[self.metric](answers, targets) if finite else float("nan")


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
