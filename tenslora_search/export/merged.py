"""merge, save_merged: the update added to the weights."""

import copy
from pathlib import Path

import torch
from torch import Tensor, nn

from tenslora_search.export.peft import module_pairs
from tenslora_search.nn.attach import Adapter
from tenslora_search.nn.sites import is_quantized
from tenslora_search.spec.table import QuestionError


def merge(adapter: Adapter, *, trial: int = 0) -> nn.Module:
    """Takes the adapter off and adds its update to the weights: W + A B, in float64, then cast to
    the weights' type.

    `QuestionError` if the weights are quantized; the adapter then stays on.
    """
    pairs = module_pairs(adapter, trial)
    for name in pairs:
        stored: Tensor = adapter.model.get_submodule(name).weight  # type: ignore[assignment]
        if is_quantized(stored):
            raise QuestionError(
                f"{name} holds quantized weights ({stored.dtype}), which take no update; "
                "save_peft would work."
            )
    model = adapter.detach()
    with torch.no_grad():
        for name, (a, b) in pairs.items():
            module = model.get_submodule(name)
            weight: Tensor = module.weight  # type: ignore[assignment]
            update = a.double() @ b.double()
            update = update.T if isinstance(module, nn.Linear) else update
            weight.copy_((weight.double().cpu() + update).to(weight.dtype))
    return model


def save_merged(adapter: Adapter, folder: str | Path, *, trial: int = 0) -> Path:
    """Writes a copy of the model with the update in its weights, for `from_pretrained`; the model
    keeps its adapter.
    """
    whole, folder = copy.deepcopy(adapter.model), Path(folder).expanduser()
    merge(whole.adapter, trial=trial).save_pretrained(folder)  # type: ignore[operator]
    return folder
