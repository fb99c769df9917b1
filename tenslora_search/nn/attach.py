"""attach(): freeze a model, find its sites, check the geometry, and lay K adapters beside its weights."""

import math
import re
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from functools import cache
from itertools import groupby
from typing import Any

import torch
from torch import Tensor, nn
from torch.autograd.function import once_differentiable

from tenslora_search.nn.sites import Pair, Place, Site
from tenslora_search.nn.tensor import FactoredTensor
from tenslora_search.spec.adapter import AdapterSpec
from tenslora_search.spec.backbones import ATTENTION, TRANSPOSED, family_of, read_config
from tenslora_search.spec.geometry import Geometry
from tenslora_search.spec.table import QuestionError

Targets = Mapping[str, str]
"""Patterns by projection, as in `spec/backbones.py`: {"query": "attn.q", "value": "attn.qkv 2/3"}."""


class Adapter(nn.Module):
    """K adapters over the sites of one model; the factors are its parameters, the pairs are made before each forward pass.

    Attached as `model.adapter`, so `model.parameters()` that require gradients are its factors and the task head.
    """

    def __init__(
        self, model: nn.Module, specs: Sequence[AdapterSpec], seeds: Sequence[int], places: Mapping[str, list[Place]]
    ) -> None:
        super().__init__()
        self.specs, self.places, self.geometry = tuple(specs), dict(places), specs[0].geometry
        generators = [torch.Generator().manual_seed(seed) for seed in seeds]
        self._runs = [list(run) for _, run in groupby(range(len(specs)), key=lambda k: layout(specs[k]))]
        self.tensors = nn.ModuleList(
            FactoredTensor([specs[k] for k in run], group, [generators[k] for k in run])
            for run in self._runs
            for group in range(len(self.geometry.groups))
        )
        self._bundles = [
            list(runs) for _, runs in groupby(range(len(self._runs)), key=lambda k: layout(specs[self._runs[k][0]])[0])
        ]
        self._model = [model]  # in a list, so that the model is no child of its own adapter
        self._sites, self._held = self._install(), False
        self._hook = model.register_forward_pre_hook(_refresh)

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
        return [(tensor, trials.index(trial)) for tensor, trials in self.tensors_and_trials() if trial in trials]

    def pairs(self, dtype: torch.dtype = torch.float32) -> dict[tuple[str, int], tuple[Tensor, Tensor]]:
        """For each (projection, layer): A (trial, input, rank) and B (trial, rank, output), the scale in them.

        Contracted in float32, then cast to `dtype`; shorter ranks are padded with zeros.
        """
        return self._pairs(range(len(self._runs)), self._contracted(), dtype)

    @contextmanager
    def held(self) -> Iterator[None]:
        """Within it the pairs are made once and kept: for many forward passes, without gradients, of factors that stay."""
        self.refresh()
        self._held = True
        try:
            yield
        finally:
            self._held = False

    def refresh(self) -> None:
        """Contracts the factors and hands every site its pairs, in the type the frozen maps compute in."""
        if self._held:
            return
        weight = next(iter(self._sites.values())).weight
        device = weight.device.type
        dtype = torch.get_autocast_dtype(device) if torch.is_autocast_enabled(device) else weight.dtype
        for site in self._sites.values():
            site.pairs = []
        contracted = self._contracted()
        for runs in self._bundles:
            first, last = self._runs[runs[0]][0], self._runs[runs[-1]][-1] + 1
            for (projection, layer), (a, b) in self._pairs(runs, contracted, dtype).items():
                place = self.places[projection][layer]
                self._sites[place.module].pairs.append(Pair(first, last, place.block, a, b))

    def detach(self) -> nn.Module:
        """Takes the adapter off the model, which is as it was before, still frozen; returns the model."""
        model = self.model
        self._hook.remove()
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
                sites[place.module] = Site(model.get_submodule(place.module), place.of, len(self.specs))
                model.set_submodule(place.module, sites[place.module])
        return sites

    def _contracted(self) -> list[tuple[Tensor, Tensor]]:
        """The pairs of every tensor. Small kernels by the hundred: on a GPU they run side by side, so do their gradients."""
        tensors = self._tensors
        if len(tensors) < 2 or tensors[0].scale.device.type != "cuda":
            return [tensor.pairs() for tensor in tensors]
        main, sides = torch.cuda.current_stream(), _side_streams(tensors[0].scale.device.index)
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
            left: Tensor = _SideBySide.apply((*shape, group.input, rank), dtype, *lefts)  # type: ignore[assignment]
            right: Tensor = _SideBySide.apply((*shape, rank, group.output), dtype, *rights)  # type: ignore[assignment]
            for projection, of_lefts, of_rights in zip(group.projections, left.unbind(), right.unbind(), strict=True):
                for layer, (a, b) in enumerate(zip(of_lefts.unbind(), of_rights.unbind(), strict=True)):
                    back = projection in group.transposed
                    found[projection, layer] = (b.transpose(1, 2), a.transpose(1, 2)) if back else (a, b)
        return found


class _SideBySide(torch.autograd.Function):
    """Sides (trial, projection, layer, rows, columns) of several runs -> (projection, layer, trial, rows, columns).

    In the type asked for, all stacked axes at full length, trials in a row, padded with zeros: one copy a run.
    """

    @staticmethod
    def forward(ctx: Any, shape: tuple[int, ...], dtype: torch.dtype, *sides: Tensor) -> Tensor:
        padded = any(side.shape[-2:] != shape[-2:] for side in sides)
        whole = (torch.zeros if padded else torch.empty)(shape, dtype=dtype, device=sides[0].device)
        ctx.shapes, ctx.dtype = [side.shape for side in sides], sides[0].dtype
        for part, side in zip(_parts(whole, ctx.shapes), sides, strict=True):
            part.copy_(side)
        return whole

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor | None, ...]:
        return (
            None,
            None,
            *(_summed(part, shape, ctx.dtype) for part, shape in zip(_parts(gradient, ctx.shapes), ctx.shapes, strict=True)),
        )


def _summed(part: Tensor, shape: tuple[int, ...], dtype: torch.dtype) -> Tensor:
    """To the shape, over the stacked axes that are of length 1 there."""
    axes = [axis for axis in (1, 2) if shape[axis] < part.shape[axis]]
    return part.sum(axes, keepdim=True, dtype=dtype) if axes else part.to(dtype)


def _parts(whole: Tensor, shapes: Sequence[tuple[int, ...]]) -> list[Tensor]:
    """Of (projection, layer, trial, rows, columns), each run's part as (trial, projection, layer, rows, columns)."""
    parts, first = [], 0
    for n_trials, _, _, n_rows, n_columns in shapes:
        parts.append(whole[:, :, first : first + n_trials, :n_rows, :n_columns].permute(2, 0, 1, 3, 4))
        first += n_trials
    return parts


@cache
def _side_streams(device: int) -> list[torch.cuda.Stream]:
    return [torch.cuda.Stream(device) for _ in range(N_STREAMS)]


N_STREAMS = 8


def attach(
    model: nn.Module,
    specs: AdapterSpec | Sequence[AdapterSpec],
    *,
    seeds: int | Sequence[int] = 0,
    targets: Targets | None = None,
    train_head: bool = True,
) -> Adapter:
    """Freezes `model` and attaches an adapter for each spec (K trials, whose batches then lie side by side); returns it.

    Sites are found by the patterns of the model's family, or by `targets` on any other model. The task head (what
    stands outside the pretrained base) stays trainable unless `train_head` is False. `QuestionError` if no site is
    found, or if the sites' shapes are not those of the specs' geometry.
    """
    specs = [specs] if isinstance(specs, AdapterSpec) else list(specs)
    seeds = [seeds] * len(specs) if isinstance(seeds, int) else list(seeds)
    if not specs or len(seeds) != len(specs) or any(spec.geometry != specs[0].geometry for spec in specs):
        raise QuestionError(
            f"attach takes specs of one geometry and a seed for each; got {len(specs)} specs and {len(seeds)} seeds."
        )
    if any(isinstance(module, Site) for module in model.modules()):
        raise QuestionError("this model carries an adapter already; call its detach() first.")
    geometry = specs[0].geometry
    projections = [name for group in geometry.groups for name in group.projections]
    places = find_sites(model, projections, targets)
    _check_shapes(model, places, geometry)
    model.requires_grad_(False)
    if train_head:
        for parameter in head_parameters(model).values():
            parameter.requires_grad_(True)
    adapter = Adapter(model, specs, seeds, places)
    adapter.to(next(iter(model.parameters())).device)
    model.adapter = adapter
    return adapter


def find_sites(
    model: nn.Module, projections: Sequence[str] = ATTENTION, targets: Targets | None = None
) -> dict[str, list[Place]]:
    """For each projection its places, layer by layer; where there is none, `QuestionError` lists the linear maps there are."""
    if targets is None:
        model_type = getattr(getattr(model, "config", None), "model_type", None)
        if model_type is None:
            raise QuestionError(
                f"{type(model).__name__} has no config that says its family; give targets=. {_linear_maps(model)}"
            )
        patterns = family_of(model_type).patterns(projections)
    else:
        missing = [name for name in projections if name not in targets]
        if missing:
            raise QuestionError(f"targets has no pattern for {', '.join(missing)}; it has {', '.join(targets) or 'none'}.")
        patterns = {name: targets[name] for name in projections}
    names = [name for name, module in model.named_modules() if _is_linear(module)]
    places = {name: [place for module in names if (place := _match(pattern, module))] for name, pattern in patterns.items()}
    for name, found in places.items():
        if not found:
            raise QuestionError(f"no linear map of this model ends in {patterns[name]!r} ({name}). {_linear_maps(model)}")
    return places


def geometry_of(
    model: nn.Module, projections: Sequence[str] = ATTENTION, *, targets: Targets | None = None, heads: int | None = None
) -> Geometry:
    """The geometry of a model's sites by their real shapes; `heads` says how many, if the model's config does not."""
    places = find_sites(model, projections, targets)
    config: dict[str, Any] = model.config.to_dict() if hasattr(model, "config") else {}  # type: ignore[union-attr]
    numbers = {"heads": heads, "head_dim": None} if heads else read_config(config, "the model's config; heads=")
    maps: list[tuple[str, int, int, int, bool]] = []
    for name, found in places.items():
        back = name in TRANSPOSED
        inner, outer = _shape(model, found[0])[:: -1 if back else 1]
        if name in ("up", "gate", "down"):  # an MLP has no heads
            maps.append((name, inner, 1, outer, back))
            continue
        query_width = _shape(model, places["query"][0])[1] if "query" in places else outer
        head_dim = numbers["head_dim"] or query_width // numbers["heads"]
        if outer % head_dim:
            raise QuestionError(
                f"{name} has {outer} features, which do not divide into heads of {head_dim}; give heads that divide."
            )
        maps.append((name, inner, outer // head_dim, head_dim, back))
    layers = {len(found) for found in places.values()}
    if len(layers) > 1:
        raise QuestionError(f"the projections are in unequal numbers of layers: { {n: len(f) for n, f in places.items()} }.")
    return Geometry.of_maps(maps, layers.pop())


def head_parameters(model: nn.Module) -> dict[str, nn.Parameter]:
    """The parameters of the task head: those outside the pretrained base, tied embeddings left out; none for a bare base."""
    prefix = getattr(model, "base_model_prefix", "")
    if not prefix or not hasattr(model, prefix):
        return {}
    inside = {id(parameter) for parameter in getattr(model, prefix).parameters()}
    inside |= {id(parameter) for module in model.modules() if isinstance(module, Adapter) for parameter in module.parameters()}
    return {name: parameter for name, parameter in model.named_parameters() if id(parameter) not in inside}


def _refresh(module: nn.Module, arguments: object) -> None:
    module.adapter.refresh()  # type: ignore[operator]  (looked up, so that a copy of the model refreshes its own adapter)


def layout(spec: AdapterSpec) -> tuple[int, str, str, str]:
    """Trials that are alike in this, side by side in a pack, share their kernels; a pack in its order is the fastest.

    First a class of slice ranks: at a site, a class is padded to its largest rank.
    """
    rank_class = max(0, math.ceil(math.log(spec.slice_rank / SMALL_RANK, RANK_STEP)))
    return (rank_class, spec.construction, spec.decomposition, spec.head_layout)


SMALL_RANK, RANK_STEP = 16, 4
"""Ranks up to 16, up to 64, up to 256, ... are padded to one: below 16 a product on a GPU takes no longer."""


def _match(pattern: str, module: str) -> Place | None:
    for alternative in pattern.split("|"):
        name, _, fused = alternative.strip().partition(" ")
        block, of = map(int, fused.split("/")) if fused else (0, 1)
        expression = re.escape(name).replace(r"\*", r"\d+")
        if re.search(rf"(^|\.){expression}$", module):
            return Place(module, block, of)
    return None


def _is_linear(module: nn.Module) -> bool:
    return isinstance(module, nn.Linear) or type(module).__name__ == "Conv1D"


def _shape(model: nn.Module, place: Place) -> tuple[int, int]:
    """(input, output) of a projection; GPT-2's Conv1D stores its weight that way round, nn.Linear the other."""
    module = model.get_submodule(place.module)
    rows, columns = map(int, module.weight.shape)  # type: ignore[union-attr]
    inputs, outputs = (columns, rows) if isinstance(module, nn.Linear) else (rows, columns)
    if outputs % place.of:
        raise QuestionError(f"{place.module} has {outputs} outputs, which do not divide into {place.of} blocks.")
    return inputs, outputs // place.of


def _check_shapes(model: nn.Module, places: Mapping[str, list[Place]], geometry: Geometry) -> None:
    for group in geometry.groups:
        for name in group.projections:
            if len(places[name]) != group.layers:
                raise QuestionError(f"the spec is for {group.layers} layers of {name}; this model has {len(places[name])}.")
            expected = (group.input, group.output)[:: -1 if name in group.transposed else 1]
            for place in places[name]:
                if (found := _shape(model, place)) != expected:
                    raise QuestionError(
                        f"the spec is for {name} of {expected[0]} x {expected[1]}; {place.module} is {found[0]} x {found[1]}."
                    )


def _linear_maps(model: nn.Module) -> str:
    ends = dict.fromkeys(re.sub(r"\d+", "*", name) for name, module in model.named_modules() if _is_linear(module))
    return f"Its linear maps: {', '.join(ends) or 'none'}."
