"""Any number of labels a row."""

from collections.abc import Mapping
from typing import Any, ClassVar

import numpy as np
from numpy.typing import NDArray
from torch import Tensor, nn
from torch.nn import functional

from tenslora_search.data.goals.base import Readout, logits_of
from tenslora_search.data.labels import LabelColumn, Targets, holds_lists, read_label_sets


class Labels(Readout):
    """Any number of labels a row: binary cross-entropy of each; answers are probabilities."""

    name: ClassVar[str] = "labels"
    problem_type: ClassVar[str] = "multi_label_classification"
    pipeline_options: ClassVar[str] = "truncation=True, top_k=None"
    metrics: ClassVar[tuple[str, ...]] = ("f1_micro", "f1_macro", "roc_auc")

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
