"""split_of(): text that is to be written as tokens, and which of them are learnt.

`blocks`, `pairs`, `completions`, `chats` and `answers` make a line of each row, or of each stretch
of a text: its tokens and whether each of them counts. Lines are padded on the right, where a
decoder's tokens do not see the padding, so no mask goes with them.
"""

import json
import logging
from collections.abc import Callable, Iterator
from itertools import chain
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import torch
from torch import Tensor

from tenslora_search.data.batches import Split
from tenslora_search.data.encode import in_turns, kept, tokenizer_digest
from tenslora_search.data.rows import Rows
from tenslora_search.hub.cache import cache_folder
from tenslora_search.nn.token_loss import IGNORED
from tenslora_search.spec.table import QuestionError

LOGGER = logging.getLogger("tenslora_search")
LEAST = 4
"""Tokens a text at least."""


class Line(NamedTuple):
    """Tokens, and which of them are learnt."""

    tokens: list[int]
    counted: list[bool]


Make = Callable[[Rows, Any, int], Iterator[Line]]
"""(rows, tokenizer, tokens a line at most) -> lines."""


def split_of(
    rows: Rows, tokenizer: Any, make: Make, *, max_length: int, cache: Path | str | None
) -> Split:
    """The lines as a split: `input_ids` and `targets`, which stand one token before what they ask
    for, both (line, token); there is no label, so 0 stands for it.
    """
    tokens, counted, lengths = lines_of(rows, tokenizer, make, max_length, cache)
    targets = next_of(tokens, counted)
    none = torch.zeros(len(tokens), dtype=torch.int64)
    return Split({"input_ids": tokens, "targets": targets}, none, lengths)


def lines_of(
    rows: Rows, tokenizer: Any, make: Make, max_length: int, cache: Path | str | None
) -> tuple[Tensor, Tensor, Tensor]:
    """Tokens and which of them count, (line, token), and lengths (line,); from the cache where it
    holds them.
    """
    most = min(max_length, tokenizer.model_max_length)
    if most < LEAST:
        raise QuestionError(f"--max-length is {LEAST} or more for text to be written; got {most}.")
    template = tokenizer.chat_template if rows.kind == "messages" else ""
    key = f"{make.__name__} {most} {template} {tokenizer_digest(tokenizer)}"
    stored = kept(
        key, rows, cache_folder(cache) / "encoded", lambda: _flat(make(rows, tokenizer, most))
    )
    lengths = stored["lengths"].to(torch.int64)
    if not len(lengths):
        raise QuestionError(f"{rows.where} holds no text of two tokens or more.")
    there = torch.arange(int(lengths.max())) < lengths[:, None]
    tokens = torch.full(there.shape, int(tokenizer.pad_token_id), dtype=torch.int64)
    tokens.masked_scatter_(there, stored["tokens"].to(torch.int64))
    counted = torch.zeros(there.shape, dtype=torch.bool)
    counted.masked_scatter_(there, stored["counted"].to(torch.bool))
    return tokens, counted, lengths


def next_of(tokens: Tensor, counted: Tensor) -> Tensor:
    """What is to come after each token, (line, token): IGNORED where that does not count."""
    targets = torch.full_like(tokens, IGNORED)
    targets[:, :-1] = torch.where(counted[:, 1:], tokens[:, 1:], IGNORED)
    return targets


def blocks(rows: Rows, tokenizer: Any, most: int) -> Iterator[Line]:
    """All texts in a row, an end-of-text token after each, cut into stretches of `most` tokens."""
    first, end = starts(tokenizer), ends(tokenizer)
    found = plain(tokenizer, rows.columns[0])
    stream = list(chain.from_iterable(one + end for one in found if one))
    width = most - len(first)
    for start in range(0, len(stream), width):
        part = stream[start : start + width]
        if len(first) + len(part) > 1:
            yield Line(first + part, [False] * len(first) + [True] * len(part))


def pairs(rows: Rows, tokenizer: Any, most: int) -> Iterator[Line]:
    """Prompts, which are not learnt, and their completions with an end-of-text token."""
    end = ends(tokenizer)
    prompts, completions = (plain(tokenizer, column) for column in rows.columns)
    parts = [
        [(prompt, False), (completion + end, True)]
        for prompt, completion in zip(prompts, completions, strict=True)
    ]
    return _fitted(parts, rows, tokenizer, most)


def completions(rows: Rows, tokenizer: Any, most: int) -> Iterator[Line]:
    """Completions alone, all of which counts."""
    end = ends(tokenizer)
    for text in plain(tokenizer, rows.columns[1]):
        tokens = [*text[: most - len(end)], *end]
        yield Line(tokens, [True] * len(tokens))


def chats(rows: Rows, tokenizer: Any, most: int) -> Iterator[Line]:
    """Chats by the tokenizer's own template; what the assistant says is learnt."""
    if not tokenizer.chat_template:
        raise QuestionError(
            f"row {rows.numbers[0] + 1} of {rows.where}: column {rows.names[0]!r} holds a chat, "
            "and the model's tokenizer has no chat template; take a chat model such as smollm2, or "
            "give columns prompt and completion."
        )
    texts = [
        _turns(json.loads(chat), tokenizer, f"row {number + 1} of {rows.where}")
        for number, chat in zip(rows.numbers, rows.columns[0], strict=True)
    ]
    flat = iter(plain(tokenizer, [text for turns in texts for text, _ in turns]))
    parts = [[(next(flat), counts) for _, counts in turns] for turns in texts]
    return _fitted(parts, rows, tokenizer, most, begins=False)


def answers(rows: Rows, tokenizer: Any, most: int) -> Iterator[Line]:
    """A line for each choice of each row: the prompt, then the choice, which counts. Rows of fewer
    choices than others are filled up with lines of one token, of which none counts.
    """
    choices = [json.loads(one) for one in rows.columns[1]]
    n_choices = max(map(len, choices))
    prompts = plain(tokenizer, rows.columns[0])
    flat = iter(plain(tokenizer, [text for texts in choices for text in texts]))
    parts = []
    for prompt, texts in zip(prompts, choices, strict=True):
        parts += [[(prompt, False), (next(flat), True)] for _ in texts]
        parts += [[(prompt[-1:], False)]] * (n_choices - len(texts))
    return _fitted(parts, rows, tokenizer, most, each=n_choices)


def plain(tokenizer: Any, texts: list[str]) -> list[list[int]]:
    """The tokens of texts, without any that a tokenizer adds."""
    turns = in_turns(tokenizer, texts, add_special_tokens=False)
    return [tokens for one in turns for tokens in one["input_ids"]]


def starts(tokenizer: Any) -> list[int]:
    """The token that the tokenizer begins a text with, if it does."""
    added, first = tokenizer("")["input_ids"], tokenizer.bos_token_id
    return [first] if first is not None and first in added[:1] else []


def ends(tokenizer: Any) -> list[int]:
    """The end-of-text token, if there is one."""
    return [] if tokenizer.eos_token_id is None else [tokenizer.eos_token_id]


def _turns(chat: list[dict[str, str]], tokenizer: Any, where: str) -> list[tuple[str, bool]]:
    """The chat's text in parts: what the assistant is told, and what it says."""
    parts: list[tuple[str, bool]] = []
    before = ""
    for place, turn in enumerate(chat):
        if turn["role"] != "assistant":
            continue
        told = tokenizer.apply_chat_template(
            chat[:place], tokenize=False, add_generation_prompt=True
        )
        said = tokenizer.apply_chat_template(chat[: place + 1], tokenize=False)
        if not told.startswith(before) or not said.startswith(told):
            raise QuestionError(
                f"{where}: column 'messages': the tokenizer's chat template writes earlier turns "
                "anew when one is added, so what the assistant says cannot be told apart; give "
                "columns prompt and completion."
            )
        parts += [(told[len(before) :], False), (said[len(told) :], True)]
        before = said
    return parts


def _fitted(
    parts: list[list[tuple[list[int], bool]]], rows: Rows, tokenizer: Any, most: int, *,
    begins: bool = True, each: int = 1,
) -> Iterator[Line]:  # fmt: skip
    """Lines of parts; of one that is too long what is learnt last, or the prompt's start, goes.

    `each`: lines a row. `QuestionError` for a prompt that is longer than the model's positions.
    """
    first = starts(tokenizer) if begins else []
    n_cut = 0
    for place, line in enumerate(parts):
        tokens = list(chain.from_iterable(part for part, _ in line))
        counted = [counts for part, counts in line for _ in part]
        begin = counted.index(True) if True in counted else 0
        if begin + len(first) >= tokenizer.model_max_length:
            raise QuestionError(
                f"row {rows.numbers[place // each] + 1} of {rows.where}: column {rows.names[0]!r} "
                f"makes a prompt of {begin:,} tokens; the model has {tokenizer.model_max_length:,} "
                "positions, which hold the answer too. Shorten it, or take the row out."
            )
        width = most - len(first)
        end = min(len(tokens), max(width, begin + width // 2))
        start = max(0, end - width)
        n_cut += len(tokens) > width
        yield Line(
            first + tokens[start:end] or [int(tokenizer.pad_token_id)],
            [False] * len(first) + counted[start:end] or [False],
        )
    if n_cut:
        LOGGER.warning(
            "cut %s of %s texts of %s to %s tokens (--max-length)",
            f"{n_cut:,}", f"{len(parts):,}", rows.where, f"{most:,}",
        )  # fmt: skip


def _flat(lines: Iterator[Line]) -> dict[str, Tensor]:
    """All lines in a row, with their lengths."""
    found = list(lines)
    return {
        "tokens": _array((one.tokens for one in found), np.int32),
        "counted": _array((one.counted for one in found), np.uint8),
        "lengths": torch.tensor([len(one.tokens) for one in found], dtype=torch.int32),
    }


def _array(parts: Iterator[list[Any]], dtype: Any) -> Tensor:
    return torch.from_numpy(np.fromiter(chain.from_iterable(parts), dtype=dtype))
