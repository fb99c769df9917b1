"""Attention that suits packs: folded on a GPU, in float32 on a CPU.

GPU kernels of attention work on tiles of 64 tokens a text and head, however short the text is.
`folded` lays texts of a batch end to end until they fill a tile, behind a mask that keeps them
apart: the same result from fewer tiles. Texts of two trials never share one: a trial that has
failed holds NaN, and 0 x NaN is NaN.
"""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor
from torch.nn.attention import SDPBackend, sdpa_kernel
from transformers import (
    AttentionInterface,
    AttentionMaskInterface,
    PreTrainedModel,
    masking_utils,
)
from transformers.integrations.sdpa_attention import sdpa_attention_forward
from transformers.masking_utils import sdpa_mask

TILE = 64
"""Tokens in a tile of torch's memory-efficient attention, forward and backward."""
UP_TO_A_TILE = [SDPBackend.EFFICIENT_ATTENTION, SDPBackend.FLASH_ATTENTION, SDPBackend.MATH]
BEYOND = [
    SDPBackend.CUDNN_ATTENTION,
    SDPBackend.FLASH_ATTENTION,
    SDPBackend.EFFICIENT_ATTENTION,
    SDPBackend.MATH,
]
"""Kernels, the fastest first: on an H200 cuDNN's takes 1.8 times as long at 64 tokens, 0.7 times at
197 without a mask.
"""
FOLDED, IN_FLOAT32 = "folded", "in_float32"
"""Names of ours among transformers' implementations of attention."""
LOOKS = (
    (masking_utils, "find_packed_sequence_indices"),
    (PreTrainedModel, "warn_if_padding_and_no_attention_mask"),
)
"""Where transformers looks into a batch: for several texts in a row, and for padding."""
TRIALS = "trials_in_batch"
"""The entry of a model's config from which a mask learns of the trials."""


def fold_attention(model: PreTrainedModel) -> None:
    """Lets a model with torch's attention fold short texts; others stay as they are."""
    _replace_attention(model, FOLDED, folded_attention, folded_mask)


def attend_in_float32(model: PreTrainedModel) -> None:
    """For a model in bfloat16 on a CPU, where torch's attention takes 14 times as long backward as
    in float32.
    """
    _replace_attention(model, IN_FLOAT32, float32_attention, sdpa_mask)


@contextmanager
def trials_apart(model: Any, n_trials: int) -> Iterator[None]:
    """Within it the model's batches hold the texts of so many trials, side by side, and no tile
    those of two. A row is one text, padded where no token sees it or behind a mask: transformers
    looks neither whether it holds several nor whether it is padded, which would wait for the GPU.
    """
    before = getattr(model.config, TRIALS, None)
    setattr(model.config, TRIALS, n_trials)
    looks = [getattr(place, name, None) for place, name in LOOKS]
    for place, name in LOOKS:
        setattr(place, name, _look_at_nothing)
    try:
        yield
    finally:
        for (place, name), look in zip(LOOKS, looks, strict=True):
            setattr(place, name, look)
        if before is None:
            delattr(model.config, TRIALS)
        else:
            setattr(model.config, TRIALS, before)


def _look_at_nothing(*about: Any, **more: Any) -> None:
    return None


def folded_mask(batch_size: int, q_length: int, kv_length: int, **options: Any) -> Tensor | None:
    """(batch / fold, 1, fold * token, fold * token): 0 where a token may look, else -inf; torch's
    own where nothing folds.

    Whether there is a mask does not depend on what it holds: nobody waits for the GPU, and a
    recorded step is the eager one.
    """
    n_trials = getattr(options.get("config"), TRIALS, 1)
    fold = _fold(batch_size // n_trials, kv_length) if q_length == kv_length else 1
    if fold == 1 and options.get("attention_mask") is None:
        # A decoder's kernels need no mask either: they know which tokens come before.
        reach = options.get("local_size")
        all_see_all = options.get("allow_is_bidirectional_skip") and reach is None
        is_causal = options.get("allow_is_causal_skip", True) and q_length == kv_length
        if all_see_all or (is_causal and (reach is None or kv_length <= reach)):
            return None
        return sdpa_mask(batch_size, q_length, kv_length, **options)
    always = {"allow_is_causal_skip": False, "allow_is_bidirectional_skip": False}
    mask = sdpa_mask(batch_size, q_length, kv_length, **{**options, **always})
    if fold == 1:
        return mask
    assert mask is not None
    texts = mask.view(-1, fold, 1, q_length, kv_length)
    same = torch.eye(fold, dtype=torch.bool, device=mask.device).view(fold, 1, fold, 1)
    tile = (texts.transpose(2, 3) & same).reshape(-1, 1, fold * q_length, fold * kv_length)
    return torch.zeros(tile.shape, dtype=options["dtype"], device=mask.device).masked_fill_(
        ~tile, -torch.inf
    )


def folded_attention(
    module: torch.nn.Module,
    query: Tensor,  # (batch, head, token, channel)
    key: Tensor,
    value: Tensor,
    attention_mask: Tensor | None,
    **options: Any,
) -> tuple[Tensor, None]:
    """Attention of folded texts, as their mask has them: (batch, token, head, channel)."""
    batch, _, length, _ = query.shape
    fold = 1 if attention_mask is None else attention_mask.shape[-1] // key.shape[2]
    if fold > 1:
        query, key, value = (
            states.transpose(1, 2)
            .reshape(batch // fold, fold * length, states.shape[1], -1)
            .transpose(1, 2)
            for states in (query, key, value)
        )
    with sdpa_kernel(UP_TO_A_TILE if fold * length <= TILE else BEYOND, set_priority=True):
        output, _ = sdpa_attention_forward(module, query, key, value, attention_mask, **options)
    return output.reshape(batch, length, *output.shape[2:]), None


def float32_attention(
    module: torch.nn.Module,
    query: Tensor,
    key: Tensor,
    value: Tensor,
    attention_mask: Tensor | None,
    **options: Any,
) -> tuple[Tensor, None]:
    """torch's own, (batch, token, head, channel), of states (batch, head, token, channel) in any
    precision.
    """
    output, _ = sdpa_attention_forward(
        module, query.float(), key.float(), value.float(), attention_mask, **options
    )
    return output.to(query.dtype), None


def _replace_attention(
    model: PreTrainedModel, name: str, attention: Callable[..., Any], mask: Callable[..., Any]
) -> None:
    """Sets the attention of a model that has torch's."""
    if model.config._attn_implementation == "sdpa":
        AttentionInterface.register(name, attention)
        AttentionMaskInterface.register(name, mask)
        model.set_attn_implementation(name)


def _fold(batch: int, length: int) -> int:
    """How many texts share a tile: the largest power of 2 that fits and divides a trial's batch."""
    fold = 1
    while 2 * fold * length <= TILE and batch % (2 * fold) == 0:
        fold *= 2
    return fold
