"""token_losses(): the loss of each token from the hidden states before the output embeddings.

The logits of a pack are (trial x row x token x vocabulary): 16 trials of 8 texts of 256 tokens make
1.6 billion. They are taken in chunks of tokens; the output embeddings are frozen, so a chunk's
gradient in the hidden states is made beside its losses, and neither logits nor their gradient stay.
`naive_token_losses` is the plain reference.
"""

from typing import Any, NamedTuple

import torch
from torch import Tensor, nn
from torch.autograd.function import once_differentiable
from torch.nn import functional

from tenslora_search.spec.table import QuestionError

IGNORED = -100
"""The target of a token that carries no loss, as transformers has it."""
MOST_LOGITS = 2**26
"""In a chunk on a GPU: 256 MB in float32; on a CPU an eighth."""


class Head(NamedTuple):
    """How a language model makes logits of hidden states: x * scale W^T + bias, softly capped."""

    weight: Tensor  # (vocabulary, hidden)
    bias: Tensor | None = None
    scale: float = 1.0
    cap: float = 0.0
    """cap * tanh(logits / cap), as Gemma 2 does; 0: not at all"""

    def logits(self, states: Tensor) -> Tensor:  # (..., hidden) -> (..., vocabulary)
        """In the weight's type; capped ones in float32."""
        scaled = states * self.scale if self.scale != 1 else states
        logits = functional.linear(scaled, self.weight, self.bias)
        return self.cap * torch.tanh(logits.float() / self.cap) if self.cap else logits


def head_of(model: nn.Module) -> Head:
    """The frozen head of a language model; `QuestionError` where it has no output embeddings."""
    embeddings: Any = getattr(model, "get_output_embeddings", lambda: None)()
    if embeddings is None or not isinstance(getattr(embeddings, "weight", None), Tensor):
        raise QuestionError(
            f"{type(model).__name__} has no output embeddings, so it writes no text; give a "
            "language model such as smollm2 or gpt2."
        )
    config: Any = getattr(model, "config", None)
    bias = getattr(embeddings, "bias", None)
    if bias is None:
        bias = getattr(model, "final_logits_bias", None)  # of BART
        bias = None if bias is None else bias.view(-1)
    scale = 1.0
    if config.model_type == "t5" and getattr(
        config, "scale_decoder_outputs", config.tie_word_embeddings
    ):
        scale = config.d_model**-0.5
    scale *= getattr(config, "logit_scale", None) or 1.0  # of Cohere
    scale /= getattr(config, "logits_scaling", None) or 1.0  # of Granite
    return Head(embeddings.weight, bias, scale, getattr(config, "final_logit_softcapping", 0) or 0)


@torch.no_grad()
def check_head(model: nn.Module) -> None:
    """`QuestionError` where the model's logits are made otherwise than `Head` makes them."""
    parameter = next(model.parameters())
    ids = torch.arange(2, 8, device=parameter.device).view(2, 3) % head_of(model).weight.shape[0]
    config: Any = model.config
    more = {"decoder_input_ids": ids.flip(0)} if config.is_encoder_decoder else {}
    found = head_of(model).logits(states_of(model, {"input_ids": ids, **more})).float()
    expected = model(input_ids=ids, **more).logits.float()
    if not torch.allclose(found, expected, rtol=1e-3, atol=1e-3):
        raise QuestionError(
            f"{type(model).__name__} makes its logits in a way of its own, which the loss of a "
            "pack does not know; other families work, such as Llama, Qwen, Mistral or GPT-2."
        )


def states_of(model: nn.Module, inputs: dict[str, Tensor]) -> Tensor:
    """(row, token, hidden): what goes into the output embeddings."""
    base: Any = model.base_model
    if base is not model:
        return base(**inputs, use_cache=False)[0]
    mask = inputs.get("attention_mask")  # T5's parts stand in the model itself
    read = base.encoder(input_ids=inputs["input_ids"], attention_mask=mask)[0]
    return base.decoder(
        input_ids=inputs["decoder_input_ids"], encoder_hidden_states=read,
        encoder_attention_mask=mask, use_cache=False,
    )[0]  # fmt: skip


def naive_token_losses(states: Tensor, head: Head, targets: Tensor) -> Tensor:
    """As `token_losses`, all logits at once, its gradient by autograd."""
    return functional.cross_entropy(
        head.logits(states).float(), targets, ignore_index=IGNORED, reduction="none"
    )


def token_losses(states: Tensor, head: Head, targets: Tensor) -> Tensor:
    """(position,) in float32: -log p of each target by states (position, hidden); 0 where the
    target is IGNORED. The head gets no gradient.
    """
    found: Any = _TokenLosses.apply(states, head, targets)
    return found


class _TokenLosses(torch.autograd.Function):
    """Losses and, at once, their gradients in the states."""

    @staticmethod
    def forward(ctx: Any, states: Tensor, head: Head, targets: Tensor) -> Tensor:
        most = MOST_LOGITS if states.is_cuda else MOST_LOGITS // 8
        step = max(1, most // len(head.weight))
        losses = torch.empty(len(states), device=states.device, dtype=torch.float32)
        gradients = torch.empty_like(states) if ctx.needs_input_grad[0] else None
        for start in range(0, len(states), step):
            part = slice(start, start + step)
            logits, wanted = head.logits(states[part]), targets[part]
            counted, places = wanted != IGNORED, wanted.clamp(min=0)[:, None]
            logs = logits.log_softmax(-1, dtype=torch.float32)
            losses[part] = torch.where(counted, -logs.gather(1, places)[:, 0], 0.0)
            if gradients is not None:
                shares = logs.exp_()
                shares.scatter_add_(1, places, shares.new_full(places.shape, -1.0))
                if head.cap:
                    shares *= 1 - (logits / head.cap).square()
                torch.mm(shares.to(head.weight.dtype), head.weight, out=gradients[part])
                gradients[part] *= counted[:, None]
                if head.scale != 1:
                    gradients[part] *= head.scale
        ctx.save_for_backward(gradients)
        return losses

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor | None, None, None]:
        (gradients,) = ctx.saved_tensors
        return gradients * gradient[:, None].to(gradients.dtype), None, None
