"""attach(): freeze a model, find its sites, check the geometry, and lay K adapters beside its
weights.
"""

import warnings
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor, nn

from tenslora_search.nn.base_weights import BaseWeights
from tenslora_search.nn.bundles import (
    Bundle,
    Key,
    bundles_of,
    classes_of,
    dense,
    knobs_of,
    layout,
    pairs,
)
from tenslora_search.nn.calls import Calls, not_compiled
from tenslora_search.nn.places import Targets, check_shapes, find_sites, linear_maps
from tenslora_search.nn.sites import Place, Site, Update, is_quantized
from tenslora_search.nn.stacking import all_matrices
from tenslora_search.nn.tensor import FactoredTensor
from tenslora_search.nn.wrappers import prepare_wrappers, unwrapped, working_device
from tenslora_search.spec.adapter import AdapterSpec
from tenslora_search.spec.arguments import checked
from tenslora_search.spec.table import QuestionError

__all__ = ["Adapter", "attach", "head_parameters", "layout"]


class Adapter(nn.Module):
    """K adapters over the sites of one model; the factors are its parameters, the updates are made
    before each forward pass.

    Attached as `model.adapter` (`name`), so `model.parameters()` that require gradients are its
    factors and the task head.

    >>> adapter = attach(model, AdapterSpec.of("qkv_depth", "tucker", (3, 3, 2, 2), geometry))
    >>> adapter.n_params == adapter.specs[0].n_params, adapter is model.adapter
    (True, True)
    >>> adapter.detach() is model
    True
    """

    def __init__(
        self,
        model: nn.Module,
        specs: Sequence[AdapterSpec],
        seeds: Sequence[int],
        places: Mapping[str, list[Place]],
    ) -> None:
        super().__init__()
        self.specs, self.places = tuple(specs), dict(places)
        generators = [torch.Generator().manual_seed(seed) for seed in seeds]
        self._bundles = bundles_of(specs)
        self._classes = classes_of(self._bundles)
        maps = linear_maps(model)
        groups = {group for bundle in self._bundles for group in bundle.geometry.groups}
        bases = {group: BaseWeights(model, maps, places, group) for group in groups}
        self.tensors = nn.ModuleList(
            FactoredTensor(
                [specs[k] for k in bundle.trials],
                number,
                [generators[k] for k in bundle.trials],
                bases[group],
            )
            for bundle in self._bundles
            for number, group in enumerate(bundle.geometry.groups)
        )
        for number, bundle in enumerate(self._bundles):
            for name, value in knobs_of([specs[k] for k in bundle.trials]).items():
                self.register_buffer(f"knob_{number}_{name}", value, persistent=False)
        self.name = "adapter" if getattr(model, "adapter", self) is self else "tenslora_adapter"
        """its own in the model; some models have an `adapter` of theirs"""
        self._model = [model]  # in a list, so that the model is no child of its own adapter
        self._sites, self._held = self._install(), False
        self.came_along: tuple[str, ...] = ()
        """names of the model's parameters that were loaded with the adapter: exports hold them
        again
        """
        self.calls = Calls(model, self.name, self._sites, self.refresh)

    def forward(self, x: Any) -> Any:
        """What it is given, as the last part of an nn.Sequential that it is attached to."""
        return x

    @property
    def model(self) -> nn.Module:
        return self._model[0]

    @property
    def sites(self) -> dict[str, Site]:
        """The adapted maps by their names."""
        return self._sites

    @property
    def n_params(self) -> int:
        """Trainable entries of all factors of all trials, padding left out."""
        return sum(spec.n_params for spec in self.specs)

    def tensors_and_trials(self) -> list[tuple[FactoredTensor, range]]:
        """All tensors, each with the trials it holds, which lie side by side."""
        tensors = self._tensors
        return [
            (tensors[place], bundle.trials) for bundle in self._bundles for place in bundle.tensors
        ]

    def tensors_of(self, trial: int) -> list[tuple[FactoredTensor, int]]:
        """The trial's tensors, one a shape group, each with the trial's place in it."""
        bundle, tensors = self._bundle_of(trial), self._tensors
        return [(tensors[place], trial - bundle.first) for place in bundle.tensors]

    def updates(self, trial: int = 0) -> dict[Key, tuple[Tensor, ...]]:
        """One trial's update of each (projection, layer) that it adapts, in float32, the scale in
        it: A (input, rank) and B (rank, output), or where it is dense one (input, output).
        """
        bundle, tensors = self._bundle_of(trial), self._tensors
        contracted = {place: tensors[place].matrices() for place in bundle.tensors}
        types = [torch.float32] * len(bundle.tensors)
        return {
            key: tuple(matrix[trial - bundle.first] for matrix in matrices)
            for key, matrices in self._made([bundle], contracted, types)
        }

    @contextmanager
    def held(self) -> Iterator[None]:
        """Within it the updates are made once and kept: for many forward passes, without gradients,
        of factors that stay.
        """
        self.refresh()
        self._held = True
        try:
            yield
        finally:
            self._held = False

    @not_compiled
    def refresh(self, sites: Mapping[str, Site] | None = None) -> None:
        """Contracts the factors and hands every site its updates; only some sites, if they are
        named.
        """
        if self._held:
            return
        sites = self._sites if sites is None else sites
        made: dict[str, list[Update]] = {name: [] for name in sites}
        if torch.is_grad_enabled():  # those of the last step make room
            for site in sites.values():
                site.rest()
        contracted = dict(enumerate(self._contracted()))
        for bundles in self._classes:
            first, last = bundles[0].first, bundles[-1].last
            for (name, layer), matrices in self._made(bundles, contracted, self._types(bundles[0])):
                place = self.places[name][layer]
                if place.module in made:
                    made[place.module].append(Update(first, last, place.columns, matrices))
        for name, updates in made.items():  # whole, as another thread may be in the model
            sites[name].serve(updates)

    def detach(self) -> nn.Module:
        """Takes the adapter off the model, which is as it was before, still frozen; returns the
        model.
        """
        model = self.model
        self.calls.forget()
        for path, module in list(model.named_modules(remove_duplicate=False)):
            if isinstance(module, Site) and module is self._sites.get(module.name):
                model.set_submodule(path, module.frozen)
        if getattr(model, self.name, None) is self:
            delattr(model, self.name)
        return model

    @property
    def _tensors(self) -> list[FactoredTensor]:
        return list(self.tensors)  # type: ignore[arg-type]

    def _bundle_of(self, trial: int) -> Bundle:
        return next(bundle for bundle in self._bundles if trial in bundle.trials)

    def _install(self) -> dict[str, Site]:
        model, maps = self.model, linear_maps(self.model)
        names = dict.fromkeys(p.module for places in self.places.values() for p in places)
        sites = {name: Site(maps[name], name, len(self.specs)) for name in names}
        by_map = {id(maps[name]): site for name, site in sites.items()}
        for path, module in list(model.named_modules(remove_duplicate=False)):
            if id(module) in by_map:  # a map that two parts share is in both
                model.set_submodule(path, by_map[id(module)])
        return sites

    def _types(self, bundle: Bundle) -> list[torch.dtype]:
        """For each shape group the type of its frozen weights; one that holds them all, where parts
        of a model differ.
        """
        types: list[torch.dtype] = []
        for group in bundle.geometry.groups:
            of_sites = {
                self._type(self._sites[place.module])
                for name in group.projections
                for place in self.places[name]
            }
            types.append(of_sites.pop() if len(of_sites) == 1 else torch.float32)
        return types

    def _type(self, site: Site) -> torch.dtype:
        """The type of a frozen weight; where it is quantized, that of the model's first parameter
        that is not.
        """
        weight: Tensor = site.frozen.weight  # type: ignore[assignment]
        if not is_quantized(weight):
            return weight.dtype
        return next(one.dtype for one in self.model.parameters() if not is_quantized(one))

    def _made(
        self,
        bundles: Sequence[Bundle],
        contracted: Mapping[int, tuple[Tensor, ...]],
        types: Sequence[torch.dtype],
    ) -> Iterator[tuple[Key, tuple[Tensor, ...]]]:
        """The updates of a class of bundles, by projection and layer."""
        if bundles[0].is_low_rank:
            yield from pairs(bundles, contracted, types)
            return
        prefix = f"knob_{self._bundles.index(bundles[0])}_"
        knobs = {
            name.removeprefix(prefix): value
            for name, value in self.named_buffers(recurse=False)
            if name.startswith(prefix)
        }
        for key, update in dense(bundles[0], contracted, self._tensors, knobs):
            yield key, (update,)

    def _contracted(self) -> list[tuple[Tensor, ...]]:
        return all_matrices(self._tensors)


@checked()
def attach(
    model: nn.Module,
    specs: AdapterSpec | Sequence[AdapterSpec],
    *,
    seeds: int | Sequence[int] = 0,
    targets: Targets | None = None,
    train_head: bool = True,
) -> Adapter:
    """Freezes `model` and attaches an adapter for each spec (K trials, whose batches then lie side
    by side); returns it.

    Sites are found by the patterns of the model's family, or by `targets` on any other model;
    trials may adapt different maps. The task head (what stands outside the pretrained base) stays
    trainable unless `train_head` is False. `QuestionError` if no site is found, or if the sites'
    shapes are not those of a spec's geometry.

    >>> attach(model, AdapterSpec.of("none", "cp", 2, geometry), seeds=1).n_params
    384
    """
    specs = [specs] if isinstance(specs, AdapterSpec) else list(specs)
    seeds = [seeds] * len(specs) if isinstance(seeds, int) else list(seeds)
    if not specs or len(seeds) != len(specs):
        raise QuestionError(
            f"attach takes one spec or more and a seed for each; got {len(specs)} specs and "
            f"{len(seeds)} seeds."
        )
    prepare_wrappers(model)
    model = unwrapped(model)
    places = _places(model, specs, targets)
    maps = linear_maps(model)
    names = dict.fromkeys(place.module for found in places.values() for place in found)
    devices = [working_device(maps[name], name) for name in names]
    model.requires_grad_(False)
    if train_head:
        _train_head(model)
    adapter = Adapter(model, specs, seeds, places)
    adapter.to(devices[0])
    model.add_module(adapter.name, adapter)
    return adapter


def _places(
    model: nn.Module, specs: Sequence[AdapterSpec], targets: Targets | None
) -> dict[str, list[Place]]:
    """Where the maps are that one trial or another adapts, checked against each geometry."""
    geometries = list(dict.fromkeys(spec.geometry for spec in specs))
    projections = [
        name for geometry in geometries for group in geometry.groups for name in group.projections
    ]
    places = find_sites(model, list(dict.fromkeys(projections)), targets)
    for geometry in geometries:
        check_shapes(model, places, geometry)
    return places


def _train_head(model: nn.Module) -> None:
    head = head_parameters(model)
    if any(parameter.is_meta for parameter in head.values()):
        warnings.warn(
            f"the task head ({', '.join(head)}) is offloaded, where nothing learns: it stays "
            "frozen. Keep it on a device to train it.",
            stacklevel=3,
        )
        return
    for parameter in head.values():
        parameter.requires_grad_(True)


def head_parameters(model: nn.Module) -> dict[str, nn.Parameter]:
    """The parameters of the task head: those outside the pretrained base, tied embeddings left out.

    None for a bare base, and for a language model, whose output embeddings and what leads to them
    are pretrained.
    """
    if getattr(model, "get_output_embeddings", lambda: None)() is not None:
        return {}
    prefix = getattr(model, "base_model_prefix", "")
    if not prefix or not hasattr(model, prefix):
        return {}
    inside = {id(parameter) for parameter in getattr(model, prefix).parameters()}
    inside |= {
        id(parameter)
        for module in model.modules()
        if isinstance(module, Adapter)
        for parameter in module.parameters()
    }
    return {
        name: parameter
        for name, parameter in model.named_parameters()
        if id(parameter) not in inside
    }
