"""made_ready(): a model as packs run it: on the GPU if there is one, in bfloat16 where that is
fast, without needless work.
"""

from typing import Any

import torch
from torch import nn
from transformers import PreTrainedModel

from tenslora_search.backbone.attention import attend_in_float32, fold_attention
from tenslora_search.backbone.first_token import read_first_token


def made_ready(model: PreTrainedModel, *, exact: bool = False) -> nn.Module:
    """The model with the kernels that suit packs of short rows; `exact` leaves it in float32, as
    users load an export.
    """
    placed: Any = model
    on_gpu = torch.cuda.is_available()
    read_first_token(model)
    if on_gpu:
        torch.backends.cuda.matmul.allow_tf32 = True  # factors in float32 become pairs in bfloat16
        fold_attention(model)
        if getattr(model, "is_quantized", False):
            return placed  # where it is to be, and in the types that it was saved for
        placed = placed.to("cuda")
    if exact or not (on_gpu or cpu_multiplies_bfloat16()):
        return placed
    if not on_gpu:
        attend_in_float32(model)
    return placed.to(torch.bfloat16)


def cpu_multiplies_bfloat16() -> bool:
    """Whether this CPU has instructions for products in bfloat16: they take half the time of
    float32, or less.
    """
    found = getattr(torch.cpu, "get_capabilities", dict)()  # older torch does not say
    return bool(found.get("avx512_bf16") or found.get("amx_bf16"))
