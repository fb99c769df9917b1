"""The first gradient of a frozen model's maps: how much the loss asks of each."""

from collections.abc import Sequence
from contextlib import ExitStack

import torch
from torch import Tensor

from tenslora_search.backbone.attention import trials_apart
from tenslora_search.backbone.load import Backbone
from tenslora_search.backbone.readout import StackedHeads
from tenslora_search.data.batches import Batches
from tenslora_search.data.task import TaskData
from tenslora_search.nn.places import find_sites, linear_maps
from tenslora_search.nn.sites import is_quantized, of_columns
from tenslora_search.spec.table import QuestionError

BATCHES = 4


def gradient_norms(
    backbone: Backbone, data: TaskData, projections: Sequence[str], batch_size: int
) -> list[float]:
    """The Frobenius norm of the first gradient of each map's weight, projection by projection and
    layer by layer.
    """
    found = first_gradients(backbone, data, projections, batch_size)
    return [float(one.norm()) for name in projections for one in found[name]]


def first_gradients(
    backbone: Backbone, data: TaskData, projections: Sequence[str], batch_size: int
) -> dict[str, list[Tensor]]:
    """The gradient of each map's weight, (input, output), by projection and layer by layer: of the
    mean loss over BATCHES batches, with a head that is drawn from a fixed seed.

    The model is as it was afterwards.
    """
    model = backbone.model.eval()
    places, maps = find_sites(model, projections), linear_maps(model)
    wanted = {place.module: maps[place.module] for found in places.values() for place in found}
    weights = {name: module.get_parameter("weight") for name, module in wanted.items()}
    if any(is_quantized(weight) for weight in weights.values()):
        raise QuestionError("a quantized model has no gradients of its maps to measure.")
    batches = Batches(data.fit, batch_size, 0)
    with ExitStack() as undo:
        generators = [torch.Generator().manual_seed(0)]
        is_needed = data.goal.n_outputs > 0
        undo.callback(StackedHeads(model, generators, backbone.anew, is_needed=is_needed).detach)
        undo.enter_context(trials_apart(model, 1))
        for weight in weights.values():
            undo.callback(weight.requires_grad_, weight.requires_grad)
            weight.requires_grad_(True)
        sums = {name: torch.zeros_like(one, dtype=torch.float32) for name, one in weights.items()}
        for step in range(BATCHES):
            losses = data.goal.losses(model, batches.take(data.fit, batches[step]), 1)
            found = torch.autograd.grad(losses.sum(), list(weights.values()), allow_unused=True)
            for name, gradient in zip(weights, found, strict=True):
                if gradient is not None:
                    sums[name] += gradient.float() / BATCHES
    # nn.Linear holds (output, input), Conv1D (input, output): outputs go last
    last = {
        name: one.T if isinstance(wanted[name], torch.nn.Linear) else one
        for name, one in sums.items()
    }
    return {
        name: [of_columns(last[one.module], one.columns).flatten(1) for one in places[name]]
        for name in projections
    }
