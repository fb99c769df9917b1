"""merge, save_merged: the update added to the weights."""

import copy
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from tenslora_search.nn.attach import Adapter
from tenslora_search.nn.sites import is_quantized, of_columns
from tenslora_search.nn.wrappers import unwrapped
from tenslora_search.spec.arguments import checked
from tenslora_search.spec.paths import output_folder
from tenslora_search.spec.table import QuestionError


@checked()
def merge(adapter: Adapter, *, trial: int = 0) -> nn.Module:
    """Takes the adapter off and adds its update to the weights: W + A B, or what a dense update
    is, in float64, then cast to the weights' type.

    `QuestionError` if the weights are quantized or offloaded; the adapter then stays on.

    >>> adapter = attach(model, AdapterSpec.of("none", "cp", 2, geometry_of(model)))
    >>> merge(adapter) is model, hasattr(model, "adapter")
    (True, False)
    """
    with torch.no_grad():
        updates = adapter.updates(trial)
    places = {key: adapter.places[key[0]][key[1]] for key in updates}
    maps = {place.module: adapter.sites[place.module].frozen for place in places.values()}
    for name, module in maps.items():
        _check_weight(name, module.weight)  # type: ignore[arg-type]
    model = adapter.detach()
    with torch.no_grad():
        for key, matrices in updates.items():
            place = places[key]
            module = maps[place.module]
            _untie(model, module)
            stored: Tensor = module.weight  # type: ignore[assignment]
            update = _product([matrix.double().cpu() for matrix in matrices])
            weight = stored.T if isinstance(module, nn.Linear) else stored  # (input, output)
            target = of_columns(weight, place.columns)
            whole = target.double().cpu() + update.view(target.shape)
            target.copy_(whole.to(stored.dtype))
    return model


def _untie(model: nn.Module, module: nn.Module) -> None:
    """Gives a map a weight of its own where another module shares it, whose is not adapted."""
    owners = [
        one
        for one in model.modules()
        if any(parameter is module.weight for parameter in one._parameters.values())
    ]
    if len(owners) > 1:
        shared: Any = module.weight
        module.weight = nn.Parameter(shared.detach().clone(), requires_grad=False)


def _product(matrices: list[Tensor]) -> Tensor:
    """One matrix, or a pair multiplied out."""
    return matrices[0] @ matrices[1] if len(matrices) == 2 else matrices[0]


def _check_weight(name: str, stored: Tensor) -> None:
    if is_quantized(stored):
        raise QuestionError(
            f"{name} holds quantized weights ({stored.dtype}), which take no update; "
            "save_peft would work."
        )
    if stored.is_meta:
        raise QuestionError(
            f"{name} is offloaded, so there is no weight to add to; load the model whole, or use "
            "save_peft."
        )


@checked()
def save_merged(adapter: Adapter, folder: str | Path, *, trial: int = 0) -> Path:
    """Writes a copy of the model with the update in its weights, for `from_pretrained`; the model
    keeps its adapter.

    >>> adapter = attach(model, AdapterSpec.of("none", "cp", 2, geometry_of(model)))
    >>> sorted(path.name for path in save_merged(adapter, folder).iterdir())
    ['config.json', 'model.safetensors']
    """
    whole = copy.deepcopy(unwrapped(adapter.model))
    merged: Any = merge(getattr(whole, adapter.name), trial=trial)
    place = output_folder(folder)
    merged.save_pretrained(place)
    return place
