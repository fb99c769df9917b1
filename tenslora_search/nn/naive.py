"""The plain way: each update as one dense matrix, one site, one step. Read this page first.

Slow, short and without padding, pairs or packs: every fast path is tested against it, outputs and
gradients. An adapter holds a few small arrays, its factors. One einsum makes the updates of all
maps of a model from them (`dense_update`), a site adds its own to what the frozen map gives
(`PlainSite`), and AdamW steps the factors (`adamw_step`).
"""

import string
from collections.abc import Iterator

import torch
from torch import Tensor, nn

from tenslora_search.nn.attach import Adapter
from tenslora_search.nn.sites import of_columns
from tenslora_search.nn.tensor import FactoredTensor
from tenslora_search.spec.geometry import STACKED
from tenslora_search.spec.maps import MAPS


def dense_update(tensor: FactoredTensor, trial: int = 0) -> Tensor:
    """The update of every map of a shape group, (projection, layer, input, output), by one einsum
    over all factors, with no cut and no pair; the scale is not yet in it.
    """
    group, net = tensor.network.group, tensor.network
    heads = ("head", "head_dim") if tensor.head_layout == "true" else ("head_dim", "head")
    terms = [(*net.looped, *(axis.name for axis in factor.axes)) for factor in net.factors]
    letter = dict(zip(dict.fromkeys(sum(terms, ())), string.ascii_letters, strict=False))
    ends = [
        name
        for mode in ("input", "output", *heads)
        for name in sorted(letter)
        if name.partition(":")[0] == mode  # an axis may be a part of a mode: input:1
    ]
    stacked = [axis for axis in STACKED if axis in letter]
    output = "".join(letter[name] for name in (*stacked, *ends))
    subscripts = ",".join("".join(letter[name] for name in term) for term in terms)
    contracted = tensor.contracted()
    arrays = [contracted[factor.name][trial] for factor in net.factors]
    full = torch.einsum(f"{subscripts}->{output}", *arrays)
    return full.reshape(len(group.projections), group.layers, group.input, group.output)


def dense_updates(adapter: Adapter, trial: int = 0) -> Iterator[tuple[str, int, Tensor]]:
    """(projection, layer, update (input, output)) of all maps of a trial: scale x f(update), where
    f is the map of its spec (`spec/maps.py`), mostly none.
    """
    for tensor, row in adapter.tensors_of(trial):
        group, change = tensor.network.group, adapter.specs[trial].after
        whole = tensor.site_scale[row] * change.make(MAPS, dense_update(tensor, row))
        for projection, layers in zip(group.projections, whole, strict=True):
            for layer, update in enumerate(layers):
                yield projection, layer, update.T if projection in group.transposed else update


def weights(adapter: Adapter, trial: int = 0) -> dict[str, Tensor]:
    """Every adapted weight with a trial's updates added, by its name in the model without adapter,
    for `torch.func.functional_call`.
    """
    found: dict[str, Tensor] = {}
    for projection, layer, update in dense_updates(adapter, trial):
        place = adapter.places[projection][layer]
        frozen = adapter.sites[place.module].frozen
        whole = torch.zeros(len(update), place.outputs)
        target = of_columns(whole, place.columns)
        target += update.view(target.shape)
        name = f"{place.module}.weight"
        old: Tensor = found.get(name, frozen.weight)  # type: ignore[assignment]
        found[name] = old + (whole.T if isinstance(frozen, nn.Linear) else whole)
    return found


class PlainSite(nn.Module):
    """y = x W + b + x U, where U (input, output) is the update; `nn.Linear` stores W transposed."""

    def __init__(self, frozen: nn.Linear, update: Tensor) -> None:
        super().__init__()
        self.frozen, self.update = frozen, update

    def forward(self, x: Tensor) -> Tensor:  # (..., input) -> (..., output)
        return self.frozen(x) + x @ self.update


def adamw_step(
    value: Tensor, gradient: Tensor, mean: Tensor, square: Tensor, step: int, rate: float,
    decay: float = 0.0,
) -> None:  # fmt: skip
    """One step of AdamW (Loshchilov and Hutter, arXiv 1711.05101), counted from 1, in place."""
    mean.mul_(0.9).add_(0.1 * gradient)
    square.mul_(0.999).add_(0.001 * gradient**2)
    direction = mean / (1 - 0.9**step) / ((square / (1 - 0.999**step)).sqrt() + 1e-8)
    value.sub_(rate * (direction + decay * value))
