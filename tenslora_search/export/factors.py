"""What a trial has learnt, as tensors by name: its factors, and what travels along."""

from collections.abc import Mapping

import torch
from torch import Tensor

from tenslora_search.nn.attach import Adapter, head_parameters
from tenslora_search.nn.wrappers import clean_name
from tenslora_search.spec.table import QuestionError


def trial_factors(adapter: Adapter, trial: int = 0) -> dict[str, Tensor]:
    """One trial's factors `group.factor` (*looped, *axes); with ranks of its own for each copy, the
    entries in a row.
    """
    found = {}
    for group, (tensor, place) in enumerate(adapter.tensors_of(trial)):
        for name, parameter in tensor.arrays.items():
            mask = tensor.entries(name, place)
            value = tensor.of_trial(name, parameter.detach(), place).cpu()
            found[f"{group}.{name}"] = value.clone() if bool(mask.all()) else value[mask]
    return found


def set_trial_factors(adapter: Adapter, factors: Mapping[str, Tensor], trial: int = 0) -> None:
    """Puts back what `trial_factors` gave; a factor may also be whole, (*looped, *axes), with its
    padding.
    """
    with torch.no_grad():
        for group, (tensor, place) in enumerate(adapter.tensors_of(trial)):
            for name, parameter in tensor.arrays.items():
                mask = tensor.entries(name, place).to(parameter.device)
                value = factors[f"{group}.{name}"].to(parameter)
                tensor.of_trial(name, parameter, place)[mask] = (
                    value[mask] if value.shape == mask.shape else value
                )


def carried(adapter: Adapter) -> dict[str, Tensor]:
    """What an export holds besides the update: the trained head, what was loaded with the adapter,
    and what no file gives.

    The last two are `adapter.came_along`: such as the pooler of a BERT whose checkpoint has none,
    at random, and frozen so.
    """
    model = adapter.model
    names = set(adapter.came_along)
    names |= {name for name, value in head_parameters(model).items() if value.requires_grad}
    found = {
        clean_name(model, name): value
        for name, value in model.named_parameters()
        if name in names or clean_name(model, name) in names
    }
    for name, value in found.items():
        if value.is_meta:
            raise QuestionError(
                f"{name} is offloaded, so its weights cannot be written; keep it on a device."
            )
    return {name: value.detach().cpu().contiguous() for name, value in found.items()}
