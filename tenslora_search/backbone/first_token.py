"""read_first_token(): past the last attention a classifier computes all tokens, and then reads the
first alone.
"""

from collections.abc import Generator
from contextlib import contextmanager
from contextvars import ContextVar
from typing import Any

import torch
from torch import Tensor, nn
from transformers import PreTrainedModel

PAST_ATTENTION = ("attention.output", "layernorm_after")
"""What follows the attention in a layer of BERT and its kin, and of ViT and its kin: from here on
tokens do not meet.
"""


def read_first_token(model: PreTrainedModel) -> bool:
    """Lets the last layer go on with the first token alone where no logit changes by that; whether
    it does.

    Of a model of 6 layers an eighth of the work is saved, forward and backward.
    """
    for gate in _gates(model):
        expected = _logits(model)
        if torch.allclose(
            expected[0], expected[1]
        ):  # a head of zeros reads nothing, and so would tell nothing
            return False
        hook = gate.register_forward_pre_hook(_first)
        if torch.allclose(_logits(model), expected, rtol=1e-4, atol=1e-5):
            return True
        hook.remove()
    return False


def _gates(model: PreTrainedModel) -> list[nn.Module]:
    """The modules of the last layer that may be told to go on with less."""
    stacks = [
        one for one in model.base_model.modules() if isinstance(one, nn.ModuleList) and len(one)
    ]
    inside = dict(max(stacks, key=len)[-1].named_modules()) if stacks else {}
    return [inside[name] for name in PAST_ATTENTION if name in inside]


_ALL_TOKENS = ContextVar("all tokens", default=False)


@contextmanager
def all_tokens() -> Generator[None]:
    """Meanwhile the last layer goes on with all tokens, for those who read its states."""
    token = _ALL_TOKENS.set(True)
    try:
        yield
    finally:
        _ALL_TOKENS.reset(token)


def _first(module: nn.Module, inputs: tuple[Any, ...]) -> tuple[Any, ...]:
    if _ALL_TOKENS.get():
        return inputs
    return tuple(
        value[:, :1] if isinstance(value, Tensor) and value.ndim == 3 else value for value in inputs
    )


@torch.no_grad()
def _logits(model: PreTrainedModel) -> Tensor:
    """Of two random rows, the same at each call."""
    generator = torch.Generator().manual_seed(0)
    if model.main_input_name == "pixel_values":
        size = model.config.image_size
        height, width = (size, size) if isinstance(size, int) else size
        return model(
            torch.rand(2, model.config.num_channels, height, width, generator=generator)
        ).logits
    return model(
        torch.randint(3, model.config.get_text_config().vocab_size, (2, 8), generator=generator)
    ).logits
