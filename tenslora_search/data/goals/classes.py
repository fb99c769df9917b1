"""One class a row."""

from collections.abc import Mapping
from typing import Any, ClassVar

import numpy as np
from numpy.typing import NDArray
from torch import Tensor, nn
from torch.nn import functional

from tenslora_search.data.goals.base import Readout, logits_of
from tenslora_search.data.labels import LabelColumn, Targets, read_classes


class Classes(Readout):
    """One class a row: cross-entropy; answers are logits."""

    name: ClassVar[str] = "classes"
    problem_type: ClassVar[str] = "single_label_classification"
    metrics: ClassVar[tuple[str, ...]] = (
        "accuracy",
        "f1_macro",
        "f1_micro",
        "balanced_accuracy",
        "roc_auc",
        "matthews",
    )
    is_last: ClassVar[bool] = True

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
