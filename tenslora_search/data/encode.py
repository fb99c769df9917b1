"""encode(): rows become a model's input tensors, in one batched call, kept in the cache by what
they hold.
"""

import hashlib
from collections.abc import Callable, Iterator, Sequence
from itertools import chain
from pathlib import Path
from typing import TYPE_CHECKING, Any, cast

import numpy as np
import torch
from torch import Tensor

from tenslora_search.data.rows import Rows
from tenslora_search.hub.cache import cache_folder, load_tensors, save_tensors
from tenslora_search.hub.images import ImageProcessor
from tenslora_search.spec.table import QuestionError

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerBase

ROWS_AT_A_TIME = 5_000
FORMAT = "3"  # part of every cache key; raise it whenever what is stored changes
PLACES = ("name_or_path", "is_local", "local_files_only", "_commit_hash")
"""Of a tokenizer's config: where it was found, which changes nothing."""


def encode(
    rows: Rows,
    processor: "PreTrainedTokenizerBase | ImageProcessor",
    *,
    max_length: int,
    cache: Path | str | None,
) -> tuple[dict[str, Tensor], Tensor]:
    """Input tensors of the rows, and (n,) lengths; from the cache where it holds them.

    `QuestionError` for an image that cannot be read, or a `max_length` that leaves no room for
    text.
    """
    folder = cache_folder(cache) / "encoded"
    if isinstance(processor, ImageProcessor):
        names = [f"row {number + 1} of {rows.where}" for number in rows.numbers]
        key = f"image {processor.key}"
        stored = kept(
            key,
            rows,
            folder,
            lambda: {"pixel_values": processor.pixels(rows.columns[0], names=names)},
        )
        return stored, torch.ones(len(rows), dtype=torch.int64)
    max_length = min(max_length, processor.model_max_length)
    n_special = processor.num_special_tokens_to_add(pair=len(rows.columns) > 1)
    if max_length <= n_special:
        full = (
            f"--max-length {max_length} leaves no room for text beside {n_special} special tokens"
        )
        raise QuestionError(f"{full}; the least that works is {n_special + 1}.")
    key = f"text {max_length} {tokenizer_digest(processor)}"
    stored = kept(key, rows, folder, lambda: _tokenised(rows, processor, max_length))
    return _padded(stored, cast(int, processor.pad_token_id))


def kept(
    key: str, rows: Rows, folder: Path, make: Callable[[], dict[str, Tensor]]
) -> dict[str, Tensor]:
    """What is made of the rows, from the cache's folder where it holds it; `key` is all else that
    decides it.
    """
    digest = hashlib.sha256(f"{FORMAT} {key} {rows.digest}".encode()).hexdigest()
    file = folder / f"{digest}.safetensors"
    stored = load_tensors(file)
    if stored is None:
        stored = make()
        save_tensors(file, stored)
    return stored


def _tokenised(rows: Rows, tokenizer: Any, max_length: int) -> dict[str, Tensor]:
    """All tokens in a row: tokens (total,), lengths (n,), and types (total,) where a pair's parts
    are marked; int32.
    """
    options = {"truncation": True, "max_length": max_length, "padding": False}
    flat: dict[str, list[list[int]]] = {"tokens": []}
    for encoded in in_turns(tokenizer, *rows.columns, **options):
        # a decoder's tokens of an empty text are none
        flat["tokens"] += [row or [tokenizer.pad_token_id] for row in encoded["input_ids"]]
        if "token_type_ids" in encoded:
            flat.setdefault("types", []).extend(row or [0] for row in encoded["token_type_ids"])
    stored = {
        name: torch.from_numpy(np.fromiter(chain.from_iterable(value), dtype=np.int32))
        for name, value in flat.items()
    }
    return stored | {
        "lengths": torch.tensor([len(row) for row in flat["tokens"]], dtype=torch.int32)
    }


def in_turns(tokenizer: Any, *columns: Sequence[str], **options: Any) -> Iterator[Any]:
    """What the tokenizer makes of the rows, some thousands at a time: in one call, which may take
    minutes, no signal is heard.
    """
    for start in range(0, len(columns[0]), ROWS_AT_A_TIME):
        some = [column[start : start + ROWS_AT_A_TIME] for column in columns]
        yield tokenizer(*some, return_attention_mask=False, verbose=False, **options)


def _padded(stored: dict[str, Tensor], pad: int) -> tuple[dict[str, Tensor], Tensor]:
    """From all tokens in a row to (n, longest) int64 tensors, padded on the right."""
    lengths = stored["lengths"].to(torch.int64)
    mask = torch.arange(int(lengths.max())) < lengths[:, None]

    def spread(flat: Tensor, filler: int) -> Tensor:
        return torch.full(mask.shape, filler, dtype=torch.int64).masked_scatter_(
            mask, flat.to(torch.int64)
        )

    inputs = {"input_ids": spread(stored["tokens"], pad), "attention_mask": mask.to(torch.int64)}
    if "types" in stored:
        inputs["token_type_ids"] = spread(stored["types"], 0)
    return inputs, lengths


def tokenizer_digest(tokenizer: Any) -> str:
    """What the tokenizer does, as a hash: its whole state without the settings a call makes, the
    numbers of its config, and what the files hold that a tokenizer in Python reads.
    """
    if tokenizer.is_fast:
        backend = tokenizer.backend_tokenizer
        backend.no_truncation()
        backend.no_padding()
        state = backend.to_str()
    else:
        state = repr(sorted(tokenizer.get_vocab().items()))
    places = {*tokenizer.vocab_files_names, *PLACES}
    config = {name: value for name, value in tokenizer.init_kwargs.items() if name not in places}
    about = (
        f"{type(tokenizer).__name__} {tokenizer.special_tokens_map} {tokenizer.model_input_names} "
        f"{sorted(config.items())}"
    )
    found = hashlib.sha256(f"{about} {state}".encode())
    for name in () if tokenizer.is_fast else sorted(tokenizer.vocab_files_names):
        file = tokenizer.init_kwargs.get(name) or getattr(tokenizer, name, None)
        if isinstance(file, str) and Path(file).is_file():
            found.update(Path(file).read_bytes())
    return found.hexdigest()
