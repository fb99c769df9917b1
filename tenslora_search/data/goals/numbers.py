"""A number a row."""

from collections.abc import Mapping
from typing import Any, ClassVar, Self

import numpy as np
from numpy.typing import NDArray
from torch import Tensor, nn

from tenslora_search.data.goals.base import Readout, logits_of
from tenslora_search.data.labels import LabelColumn, Targets
from tenslora_search.data.scores import holds_fractions, read_numbers


class Numbers(Readout):
    """A number a row: squared error of (label - mean) / std, so that the labels' scale makes no
    difference; answers are in the labels' units.
    """

    name: ClassVar[str] = "numbers"
    problem_type: ClassVar[str] = "regression"
    metrics: ClassVar[tuple[str, ...]] = ("pearson_spearman", "pearson", "spearman")

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
