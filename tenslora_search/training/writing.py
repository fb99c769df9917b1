"""writes(): what the trials of a pack write after the prompts of a split, greedily, side by side;
measures_of_writing(): how that compares with what was wanted.

It is measured at the retest, never in the search. A prompt is what stands before the first token
that is learnt, and what was wanted is what is learnt.
"""

from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
from torch import Tensor
from transformers import StoppingCriteriaList

from tenslora_search.backbone.attention import trials_apart
from tenslora_search.data.answers import ANSWERS
from tenslora_search.data.batches import Split
from tenslora_search.nn.token_loss import IGNORED
from tenslora_search.training.limit import IsOver, look
from tenslora_search.training.pack import Pack

ROWS = 200
"""Rows of report that are written at most."""
MARGIN = 8
"""Tokens beyond the longest wanted answer of a batch that a trial may write."""
BATCH = 32
"""Prompts at a time."""


def measures_of_writing(
    pack: Pack,
    split: Split,
    tokenizer: Any,
    names: Sequence[str],
    is_over: IsOver | None = None,
) -> list[dict[str, float]]:
    """For each trial the means of entries of ANSWERS over the first ROWS rows of a split;
    `TimeIsUp` once `is_over` says so.
    """
    wanted = wanted_texts(split, tokenizer)
    found = writes(pack, split, tokenizer, is_over)
    return [
        {
            name: float(np.mean([ANSWERS[name](*one) for one in zip(texts, wanted, strict=True)]))
            for name in names
        }
        for texts in found
    ]


def wanted_texts(split: Split, tokenizer: Any) -> list[str]:
    """The texts that are learnt of the first ROWS rows."""
    targets = split.inputs["targets"][:ROWS].cpu()
    return [_text(row[row != IGNORED], tokenizer) for row in targets]


@torch.no_grad()
def writes(
    pack: Pack, split: Split, tokenizer: Any, is_over: IsOver | None = None
) -> list[list[str]]:
    """For each trial, as the caller counts them, what it writes for each of the first ROWS rows;
    `TimeIsUp` once `is_over`, which is asked at each token, says so.
    """
    model: Any = pack.model
    targets = split.inputs["targets"][:ROWS].cpu()
    n_wanted = (targets != IGNORED).sum(1)
    prompts = [_prompt(split, row, model) for row in range(len(targets))]
    order = sorted(range(len(prompts)), key=lambda row: len(prompts[row]))
    texts: list[list[str]] = [[""] * len(prompts) for _ in pack.specs]
    stop: dict[str, Any] = {
        "pad_token_id": tokenizer.pad_token_id,
        "eos_token_id": tokenizer.eos_token_id,
        "stopping_criteria": StoppingCriteriaList([_clock(pack, is_over)]),
    }
    with pack.adapter.held():
        for start in range(0, len(order), BATCH):
            rows = order[start : start + BATCH]
            inputs = _side_by_side([prompts[row] for row in rows], pack, tokenizer)
            most = int(n_wanted[rows].max()) + MARGIN
            # apart, so that no tile is filled with several: padding on the left sees nothing
            with trials_apart(model, len(inputs["input_ids"])):
                made = model.generate(**inputs, max_new_tokens=most, do_sample=False, **stop)
            begin = 1 if model.config.is_encoder_decoder else inputs["input_ids"].shape[1]
            for place, tokens in enumerate(made[:, begin:].cpu()):
                trial, row = divmod(place, len(rows))
                texts[trial][rows[row]] = _text(tokens, tokenizer)
    return [texts[row] for row in pack.places]


def _clock(pack: Pack, is_over: IsOver | None) -> Any:
    """What transformers asks at each token which rows are to end: none, but `TimeIsUp` for all."""

    def looked(tokens: Tensor, scores: Any, **more: Any) -> Tensor:
        look(is_over, pack.step)
        return torch.zeros(len(tokens), dtype=torch.bool, device=tokens.device)

    return looked


def _prompt(split: Split, row: int, model: Any) -> Tensor:
    """The tokens before the first that is learnt; of an encoder all that it reads."""
    tokens = split.inputs["input_ids"][row]
    if model.config.is_encoder_decoder:
        return tokens[split.inputs["attention_mask"][row] > 0]
    counted = (split.inputs["targets"][row] != IGNORED).nonzero()
    return tokens[: int(counted[0]) + 1]


def _side_by_side(prompts: Sequence[Tensor], pack: Pack, tokenizer: Any) -> dict[str, Tensor]:
    """The prompts once for each trial, padded on the left, where a decoder goes on at the right."""
    width = max(map(len, prompts))
    ids = torch.full((len(prompts), width), int(tokenizer.pad_token_id), device=pack.device)
    mask = torch.zeros_like(ids)
    for row, prompt in enumerate(prompts):
        ids[row, width - len(prompt) :], mask[row, width - len(prompt) :] = prompt.to(ids), 1
    n_trials = len(pack.specs)
    return {"input_ids": ids.repeat(n_trials, 1), "attention_mask": mask.repeat(n_trials, 1)}


def _text(tokens: Tensor, tokenizer: Any) -> str:
    return tokenizer.decode(tokens, skip_special_tokens=True).strip()
