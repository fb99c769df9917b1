"""One of several answers, each by how likely the model finds its words."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any, ClassVar

import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from tenslora_search.data.batches import Split
from tenslora_search.data.goals.written import Written, losses_of
from tenslora_search.data.rows import Rows
from tenslora_search.data.tokens import answers, lines_of, next_of

NO_CHOICE = -1e9
"""The score of a choice that a row does not have."""


class Choice(Written):
    """The answer whose tokens are likeliest on average; the tokens of the right one are learnt."""

    name: ClassVar[str] = "choice"
    metrics: ClassVar[tuple[str, ...]] = ("accuracy",)
    kinds: ClassVar[tuple[str, ...]] = ("choices",)

    def encode(
        self, rows: Rows, targets: NDArray, processor: Any, *,
        max_length: int, cache: Path | str | None,
    ) -> Split:  # fmt: skip
        """`input_ids` and `targets` (row, token, choice)."""
        tokens, counted, lengths = lines_of(rows, processor, answers, max_length, cache)
        inputs = {"input_ids": tokens, "targets": next_of(tokens, counted)}
        by_row = {name: one.unflatten(0, (len(rows), -1)).mT for name, one in inputs.items()}
        longest = lengths.view(len(rows), -1).amax(1)
        return Split(
            {name: one.contiguous() for name, one in by_row.items()},
            torch.tensor(targets),
            longest,
        )

    def inputs(self, batch: Mapping[str, Tensor]) -> dict[str, Tensor]:
        return {"input_ids": _of(batch["input_ids"], batch["labels"])}

    def losses(self, model: nn.Module, batch: Mapping[str, Tensor], n_trials: int) -> Tensor:
        targets = _of(batch["targets"], batch["labels"])
        each, counted = losses_of(model, self.inputs(batch), targets, n_trials)
        return each.sum((1, 2)) / counted.sum().clamp(min=1)

    def answers(self, model: nn.Module, batch: Mapping[str, Tensor], n_trials: int) -> Tensor:
        """(trial, row, choice): the mean log-likelihood of a choice's tokens."""
        found = []
        for tokens, targets in zip(
            batch["input_ids"].unbind(2), batch["targets"].unbind(2), strict=True
        ):
            each, counted = losses_of(model, {"input_ids": tokens}, targets, n_trials)
            n_tokens = counted.sum(1)
            means = -each.sum(2) / n_tokens.clamp(min=1)
            found.append(torch.where(n_tokens > 0, means, NO_CHOICE))
        return torch.stack(found, 2)


def _of(values: Tensor, chosen: Tensor) -> Tensor:  # (row, token, choice), (row,)
    """The chosen choice of each row, (row, token)."""
    places = chosen[:, None, None].expand(-1, values.shape[1], 1)
    return values.gather(2, places)[..., 0]
