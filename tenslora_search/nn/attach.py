"""attach(): freeze a model, find its sites, check the geometry, and lay K adapters beside its
weights.
"""

import math
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from functools import partial
from itertools import chain, groupby

import torch
from torch import Tensor, nn
from torch.utils.hooks import RemovableHandle

from tenslora_search.nn.places import Targets, check_shapes, find_sites
from tenslora_search.nn.sites import Pair, Place, Site, is_quantized
from tenslora_search.nn.stacking import side_by_side, side_streams
from tenslora_search.nn.tensor import FactoredTensor
from tenslora_search.spec.adapter import AdapterSpec
from tenslora_search.spec.table import QuestionError


class Adapter(nn.Module):
    """K adapters over the sites of one model; the factors are its parameters, the pairs are made
    before each forward pass.

    Attached as `model.adapter`, so `model.parameters()` that require gradients are its factors and
    the task head.
    """

    def __init__(
        self,
        model: nn.Module,
        specs: Sequence[AdapterSpec],
        seeds: Sequence[int],
        places: Mapping[str, list[Place]],
    ) -> None:
        super().__init__()
        self.specs, self.places, self.geometry = tuple(specs), dict(places), specs[0].geometry
        generators = [torch.Generator().manual_seed(seed) for seed in seeds]
        self._runs = [
            list(run) for _, run in groupby(range(len(specs)), key=lambda k: layout(specs[k]))
        ]
        self.tensors = nn.ModuleList(
            FactoredTensor([specs[k] for k in run], group, [generators[k] for k in run])
            for run in self._runs
            for group in range(len(self.geometry.groups))
        )
        self._bundles = [
            list(runs)
            for _, runs in groupby(
                range(len(self._runs)), key=lambda k: layout(specs[self._runs[k][0]])[0]
            )
        ]
        self._model = [model]  # in a list, so that the model is no child of its own adapter
        self._sites, self._held = self._install(), False
        self._outermost: str | None = None
        self.came_along: tuple[str, ...] = ()
        """names of the model's parameters that were loaded with the adapter: exports hold them
        again
        """
        self._hooks = self._hook()

    @property
    def model(self) -> nn.Module:
        return self._model[0]

    @property
    def n_params(self) -> int:
        """Trainable entries of all factors of all trials, padding left out."""
        return sum(
            int(tensor.entries(name, trial).sum())
            for tensor in self._tensors
            for name in tensor.factors
            for trial in range(tensor.n_trials)
        )

    def tensors_and_trials(self) -> list[tuple[FactoredTensor, range]]:
        """All tensors, each with the trials it holds, which lie side by side."""
        n_groups = len(self.geometry.groups)
        runs = [range(run[0], run[-1] + 1) for run in self._runs]
        return [(tensor, runs[index // n_groups]) for index, tensor in enumerate(self._tensors)]

    def tensors_of(self, trial: int) -> list[tuple[FactoredTensor, int]]:
        """The trial's tensors, one a shape group, each with the trial's place in it."""
        return [
            (tensor, trials.index(trial))
            for tensor, trials in self.tensors_and_trials()
            if trial in trials
        ]

    def pairs(
        self, dtype: torch.dtype = torch.float32
    ) -> dict[tuple[str, int], tuple[Tensor, Tensor]]:
        """For each (projection, layer): A (trial, input, rank) and B (trial, rank, output), the
        scale in them.

        Contracted in float32, then cast to `dtype`; shorter ranks are padded with zeros.
        """
        return self._pairs(range(len(self._runs)), self._contracted(), dtype)

    @contextmanager
    def held(self) -> Iterator[None]:
        """Within it the pairs are made once and kept: for many forward passes, without gradients,
        of factors that stay.
        """
        self.refresh()
        self._held = True
        try:
            yield
        finally:
            self._held = False

    def refresh(self) -> None:
        """Contracts the factors and hands every site its pairs, in the type the frozen maps compute
        in.
        """
        if self._held:
            return
        weight = next(iter(self._sites.values())).weight
        device = weight.device.type
        dtype = (
            torch.get_autocast_dtype(device)
            if torch.is_autocast_enabled(device)
            else self._dtype(weight)
        )
        for site in self._sites.values():
            site.pairs = []
        contracted = self._contracted()
        for runs in self._bundles:
            first, last = self._runs[runs[0]][0], self._runs[runs[-1]][-1] + 1
            for (projection, layer), (a, b) in self._pairs(runs, contracted, dtype).items():
                place = self.places[projection][layer]
                self._sites[place.module].pairs.append(Pair(first, last, place.block, a, b))

    def detach(self) -> nn.Module:
        """Takes the adapter off the model, which is as it was before, still frozen; returns the
        model.
        """
        model = self.model
        for hook in self._hooks:
            hook.remove()
        for name, site in self._sites.items():
            model.set_submodule(name, site.frozen)
        if getattr(model, "adapter", None) is self:
            del model.adapter
        return model

    @property
    def _tensors(self) -> list[FactoredTensor]:
        return list(self.tensors)  # type: ignore[arg-type]

    def _install(self) -> dict[str, Site]:
        model, sites = self.model, {}
        for place in (place for places in self.places.values() for place in places):
            if place.module not in sites:
                sites[place.module] = Site(
                    model.get_submodule(place.module), place.of, len(self.specs)
                )
                model.set_submodule(place.module, sites[place.module])
        return sites

    def _dtype(self, weight: Tensor) -> torch.dtype:
        """The type of the frozen weights; where those are quantized, that of the model's first
        parameter that is not.
        """
        return next(
            tensor.dtype
            for tensor in chain([weight], self.model.parameters())
            if not is_quantized(tensor)
        )

    def _hook(self) -> list[RemovableHandle]:
        """Whatever is called from outside, the model or a part of it such as T5's encoder, first
        makes the pairs anew.

        The hooks are methods of this adapter: a copy of the model comes with hooks of its own
        adapter.
        """
        parts = {
            ".".join(path[:depth])
            for path in (name.split(".") for name in self._sites)
            for depth in range(len(path) + 1)
        }
        hooks: list[RemovableHandle] = []
        for name in sorted(parts):
            module = self.model.get_submodule(name)
            hooks.append(module.register_forward_pre_hook(partial(self._enter, name)))
            hooks.append(module.register_forward_hook(partial(self._leave, name), always_call=True))
        return hooks

    def _enter(self, name: str, *_: object) -> None:
        # A module that enters twice was interrupted. Checkpointing calls parts again in backward,
        # for the pairs they had.
        if self._outermost in (None, name) and (
            torch.compiler.is_compiling() or torch._C._current_graph_task_id() == -1
        ):
            self._outermost = name
            self.refresh()

    def _leave(self, name: str, *_: object) -> None:
        if self._outermost == name:
            self._outermost = None

    def _contracted(self) -> list[tuple[Tensor, Tensor]]:
        """The pairs of every tensor. Small kernels by the hundred: on a GPU they run side by side,
        so do their gradients.
        """
        tensors = self._tensors
        if len(tensors) < 2 or tensors[0].scale.device.type != "cuda":
            return [tensor.pairs() for tensor in tensors]
        main, sides = torch.cuda.current_stream(), side_streams(tensors[0].scale.device.index)
        for side in sides:
            side.wait_stream(main)
        contracted = []
        for number, tensor in enumerate(tensors):
            with torch.cuda.stream(sides[number % len(sides)]):
                contracted.append(tensor.pairs())
        for side in sides:
            main.wait_stream(side)
        return contracted

    def _pairs(
        self, runs: Sequence[int], contracted: Sequence[tuple[Tensor, Tensor]], dtype: torch.dtype
    ) -> dict[tuple[str, int], tuple[Tensor, Tensor]]:
        """As `pairs`, of the trials of some runs."""
        found: dict[tuple[str, int], tuple[Tensor, Tensor]] = {}
        n_groups = len(self.geometry.groups)
        for index, group in enumerate(self.geometry.groups):
            lefts, rights = zip(*(contracted[run * n_groups + index] for run in runs), strict=True)
            multiple = 8 if dtype.itemsize == 2 else 1  # matrix units read 16 bytes at once
            rank = -(-max(left.shape[-1] for left in lefts) // multiple) * multiple
            shape = (len(group.projections), group.layers, sum(len(left) for left in lefts))
            left = side_by_side((*shape, group.input, rank), dtype, lefts)
            right = side_by_side((*shape, rank, group.output), dtype, rights)
            for projection, of_lefts, of_rights in zip(
                group.projections, left.unbind(), right.unbind(), strict=True
            ):
                for layer, (a, b) in enumerate(
                    zip(of_lefts.unbind(), of_rights.unbind(), strict=True)
                ):
                    back = projection in group.transposed
                    found[projection, layer] = (
                        (b.transpose(1, 2), a.transpose(1, 2)) if back else (a, b)
                    )
        return found


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

    Sites are found by the patterns of the model's family, or by `targets` on any other model. The
    task head (what stands outside the pretrained base) stays trainable unless `train_head` is
    False. `QuestionError` if no site is found, or if the sites' shapes are not those of the specs'
    geometry.
    """
    specs = [specs] if isinstance(specs, AdapterSpec) else list(specs)
    seeds = [seeds] * len(specs) if isinstance(seeds, int) else list(seeds)
    if (
        not specs
        or len(seeds) != len(specs)
        or any(spec.geometry != specs[0].geometry for spec in specs)
    ):
        raise QuestionError(
            f"attach takes specs of one geometry and a seed for each; got {len(specs)} specs and "
            f"{len(seeds)} seeds."
        )
    geometry = specs[0].geometry
    projections = [name for group in geometry.groups for name in group.projections]
    places = find_sites(model, projections, targets)
    check_shapes(model, places, geometry)
    model.requires_grad_(False)
    if train_head:
        for parameter in head_parameters(model).values():
            parameter.requires_grad_(True)
    adapter = Adapter(model, specs, seeds, places)
    adapter.to(next(iter(model.parameters())).device)
    model.adapter = adapter
    return adapter


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


def layout(spec: AdapterSpec) -> tuple[int, str, str, str]:
    """Trials that are alike in this, side by side in a pack, share their kernels; a pack in its
    order is the fastest.

    First a class of slice ranks: at a site, a class is padded to its largest rank.
    """
    rank_class = max(0, math.ceil(math.log(spec.slice_rank / SMALL_RANK, RANK_STEP)))
    return (rank_class, spec.construction, spec.decomposition, spec.head_layout)


SMALL_RANK, RANK_STEP = 16, 4
"""Ranks up to 16, up to 64, up to 256, ... are padded to one: below 16 a product on a GPU takes no
longer.
"""
