"""A text of another text, by an encoder and a decoder."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any, ClassVar

import torch
from torch import Tensor, nn
from torch.nn import functional

from tenslora_search.data.batches import Split
from tenslora_search.data.encode import encode
from tenslora_search.data.goals.base import Reads
from tenslora_search.data.goals.written import Written
from tenslora_search.data.rows import Rows
from tenslora_search.data.tokens import completions, lines_of
from tenslora_search.nn.token_loss import IGNORED, head_of, states_of, token_losses
from tenslora_search.spec.families import Writes


class Sequence(Written):
    """The completion, of a prompt that an encoder has read (T5, BART): its cross-entropy; the score
    is minus the mean loss a token.
    """

    name: ClassVar[str] = "sequence"
    metrics: ClassVar[tuple[str, ...]] = ("minus_loss",)
    kinds: ClassVar[tuple[str, ...]] = ("pairs",)
    writes: ClassVar[Writes] = "encoder-decoder"
    auto: ClassVar[Mapping[Reads, str]] = {"text": "AutoModelForSeq2SeqLM"}
    pipeline: ClassVar[Mapping[Reads, str]] = {"text": "text2text-generation"}

    def encode(
        self, rows: Rows, targets: Any, processor: Any, *,
        max_length: int, cache: Path | str | None,
    ) -> Split:  # fmt: skip
        """The prompt as `input_ids` and `attention_mask`, the completion as `targets`, all (row,
        token): a token of the completion stands where it is asked for.
        """
        prompts = Rows((rows.columns[0],), rows.where, rows.numbers)
        inputs, lengths = encode(prompts, processor, max_length=max_length, cache=cache)
        tokens, counted, n_tokens = lines_of(rows, processor, completions, max_length, cache)
        targets = torch.where(counted, tokens, IGNORED)
        longest = max(int(lengths.max()), int(n_tokens.max()))
        fillers = {"input_ids": processor.pad_token_id, "attention_mask": 0}
        wide = {
            name: _widened(value, longest, fillers[name])
            for name, value in inputs.items()
            if name in fillers
        }
        return Split(
            {**wide, "targets": _widened(targets, longest, IGNORED)},
            torch.zeros(len(rows), dtype=torch.int64),
            torch.maximum(lengths, n_tokens),
        )

    def _each(
        self, model: nn.Module, batch: Mapping[str, Tensor], n_trials: int
    ) -> tuple[Tensor, Tensor]:
        writer: Any = model
        targets = batch["targets"]
        inputs = {name: one.repeat(n_trials, 1) for name, one in self.inputs(batch).items()}
        wanted = targets.repeat(n_trials, 1)
        inputs["decoder_input_ids"] = writer.prepare_decoder_input_ids_from_labels(wanted)
        states = states_of(model, inputs)
        each = token_losses(states.flatten(0, 1), head_of(model), wanted.flatten())
        return each.view(n_trials, *targets.shape), targets != IGNORED


def _widened(values: Tensor, width: int, filler: int) -> Tensor:  # (row, token)
    return functional.pad(values, (0, width - values.shape[1]), value=filler)
