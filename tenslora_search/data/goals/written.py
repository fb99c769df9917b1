"""Written: what goals share that are read from the model's own output: tokens and their losses."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, ClassVar, Self

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from tenslora_search.data.goals.base import Reads
from tenslora_search.data.labels import LabelColumn, Targets
from tenslora_search.data.metrics import METRICS
from tenslora_search.nn.token_loss import IGNORED, head_of, states_of, token_losses
from tenslora_search.spec.families import Writes
from tenslora_search.spec.table import QuestionError

NEW_TOKENS = 128
"""That a card's example writes at most."""


@dataclass(frozen=True)
class Written:
    """A goal without a head: `targets` (row, token), among a batch's inputs, say which token is to
    come after each, IGNORED where no loss is taken.
    """

    auto: ClassVar[Mapping[Reads, str]] = {"text": "AutoModelForCausalLM"}
    pipeline: ClassVar[Mapping[Reads, str]] = {"text": "text-generation"}
    writes: ClassVar[Writes] = "decoder"
    is_last: ClassVar[bool] = False

    names: tuple[str, ...] = ()
    metric: str = ""
    kept: Mapping[str, Any] = field(default_factory=dict)

    @property
    def n_outputs(self) -> int:
        return 0

    @classmethod
    def of(cls, names: tuple[str, ...], metric: str, fit: NDArray) -> Self:
        return cls(names, metric)

    @classmethod
    def again(cls, names: tuple[str, ...], metric: str, kept: Mapping[str, Any]) -> Self:
        return cls(names, metric)

    @classmethod
    def suits(cls, cells: Any) -> bool:
        return False

    @classmethod
    def read(cls, column: LabelColumn) -> Targets:
        raise QuestionError(f"{column.where} is a label, which is not learnt as text.")

    @staticmethod
    def strata(targets: NDArray) -> NDArray[np.int64]:
        return np.zeros(len(targets), dtype=np.int64)

    def configure(self, config: Any) -> None:
        return None

    def inputs(self, batch: Mapping[str, Tensor]) -> dict[str, Tensor]:
        return {name: batch[name] for name in batch if name not in ("labels", "targets")}

    def losses(self, model: nn.Module, batch: Mapping[str, Tensor], n_trials: int) -> Tensor:
        each, counted = self._each(model, batch, n_trials)
        return each.sum((1, 2)) / counted.sum().clamp(min=1)

    def answers(self, model: nn.Module, batch: Mapping[str, Tensor], n_trials: int) -> Tensor:
        """(trial, row, 2): the sum of a row's losses, and over how many tokens."""
        each, counted = self._each(model, batch, n_trials)
        sums = each.sum(2)
        return torch.stack([sums, counted.sum(1).to(sums).expand_as(sums)], 2)

    def _each(
        self, model: nn.Module, batch: Mapping[str, Tensor], n_trials: int
    ) -> tuple[Tensor, Tensor]:
        """The loss of each token, (trial, row, token), and which of them count, (row, token)."""
        return losses_of(model, self.inputs(batch), batch["targets"], n_trials)

    def score(self, answers: NDArray, targets: NDArray) -> float:
        finite = bool(np.isfinite(answers).all())
        return METRICS[self.metric](answers, targets) if finite else float("nan")

    def answer_code(self, offset: str) -> str:
        return (
            f"tokenizer.decode(model.generate(**inputs, max_new_tokens={NEW_TOKENS}, "
            "do_sample=False)[0], skip_special_tokens=True)"
        )


def losses_of(
    model: nn.Module, inputs: Mapping[str, Tensor], targets: Tensor, n_trials: int
) -> tuple[Tensor, Tensor]:
    """The loss of each token, (trial, row, token), and which of them count, (row, token)."""
    states = states_of(model, {name: one.repeat(n_trials, 1) for name, one in inputs.items()})
    wanted = targets.repeat(n_trials, 1)
    each = token_losses(states.flatten(0, 1), head_of(model), wanted.flatten())
    return each.view(n_trials, *targets.shape), targets != IGNORED
