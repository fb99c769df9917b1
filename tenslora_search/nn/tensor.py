"""FactoredTensor: the trained factors of one construction x decomposition over one shape group,
contracted into pairs, or into whole updates where the form is dense.
"""

import math
from collections.abc import Callable, Sequence
from typing import NamedTuple

import opt_einsum
import torch
from torch import Tensor, nn

from tenslora_search.nn.base_weights import BaseWeights
from tenslora_search.nn.maker import Maker
from tenslora_search.nn.starts import drawn, is_of_weights, of_weights
from tenslora_search.spec.adapter import AdapterSpec
from tenslora_search.spec.form import Factor
from tenslora_search.spec.geometry import STACKED


class Contraction(NamedTuple):
    """Some factors by their places, the einsum over them, its path chosen, and where stacked axes
    of length 1 go.
    """

    side: tuple[int, ...]
    expression: Callable[..., Tensor]
    missing: tuple[int, ...]


class FactoredTensor(nn.Module):
    """K trials' factors, one parameter a factor, of shape (trial, *looped, *axes); `pairs()` serves
    all sites at once.

    Trials may differ in ranks and scale. Shorter bonds are padded with zeros, which training never
    moves: every factor around a bond is zero there, so every gradient is; and a form's `make` never
    meets them (`Maker`). Each trial draws from its own generator, each copy in turn; what starts
    from the frozen weights takes them from `base`.
    """

    scale: Tensor

    def __init__(
        self,
        specs: Sequence[AdapterSpec],
        group: int,
        generators: Sequence[torch.Generator],
        base: BaseWeights | None = None,
    ) -> None:
        super().__init__()
        self._base = base
        self.network = net = specs[0].networks[group]
        self.head_layout = specs[0].head_layout
        self.trial_ranks = [spec.copy_ranks[group] for spec in specs]
        every_copy = [ranks for copies in self.trial_ranks for ranks in copies]
        self.ranks = tuple(max(column) for column in zip(*every_copy, strict=True))
        self.looped = tuple(net.group.size(axis) for axis in net.looped)
        self._hold([self._draw(trial, generator) for trial, generator in enumerate(generators)])

        shapes = {factor.name: self._shape(factor) for factor in net.factors}
        self.smallest = min(shapes, key=lambda name: math.prod(shapes[name]))
        n_axes = len(shapes[self.smallest]) - 1 - len(self.looped)
        scales = torch.tensor([spec.scales(group) for spec in specs], dtype=torch.float32)
        self.register_buffer(
            "scale", scales.reshape(len(specs), *self.looped, *(1,) * n_axes), persistent=False
        )
        self._maker = Maker(net, every_copy, self.ranks) if net.form.make else None
        self.slice_rank = net.slice_rank(self.ranks)
        self._contractions = self._sides()
        self._base = None  # its weights are not this module's to keep

    @property
    def n_trials(self) -> int:
        return len(self.trial_ranks)

    @property
    def arrays(self) -> dict[str, Tensor]:
        """All that is drawn and saved, by name (trial, *looped, *axes): the trained factors, which
        are the parameters `factors`, and the `frozen` ones, which are buffers.
        """
        held = {**dict(self.factors.items()), **dict(self.frozen.named_buffers())}
        return {factor.name: held[factor.name] for factor in self.network.form.learnt}

    def contracted(self) -> dict[str, Tensor]:
        """The factors that are contracted, by name (trial, *looped, *axes): those that are held, or
        what the form makes of them.
        """
        if self._maker is None:
            return self.arrays
        copies = (self.n_trials, *self.looped)
        flat = {name: value.flatten(0, len(self.looped)) for name, value in self.arrays.items()}
        return {name: value.unflatten(0, copies) for name, value in self._maker(flat).items()}

    def matrices(self) -> tuple[Tensor, ...]:
        """What is added at the sites, the scale in it: A (trial, projection, layer, input, rank)
        and B (trial, projection, layer, rank, output); of a dense form one update (trial,
        projection, layer, input, output).

        A stacked axis on which one does not depend has length 1.
        """
        factors = self.contracted()
        if self.network.form.scaled:
            factors[self.smallest] = factors[self.smallest] * self.scale
        found = [self._contract(one, factors) for one in self._contractions]
        ends = self.network.group.input, self.network.group.output
        if len(found) == 1:
            return (found[0].flatten(3, -1).unflatten(3, ends),)
        left, right = (one.flatten(3, -1) for one in found)
        return left.unflatten(3, (ends[0], -1)), right.unflatten(3, (-1, ends[1]))

    def whole(self) -> Tensor:
        """The updates multiplied out, the scale in them: (trial, projection, layer, input, output),
        a stacked axis on which they do not depend of length 1.
        """
        found = self.matrices()
        return found[0] if len(found) == 1 else found[0] @ found[1]

    @property
    def site_scale(self) -> Tensor:
        """What stands in front of the update of each site: (trial, projection, layer, 1, 1), a
        stacked axis on which it does not depend of length 1.
        """
        scale = self.scale if self.network.form.scaled else torch.ones_like(self.scale)
        looped, size = self.network.looped, self.network.group.size
        sizes = (size(axis) if axis in looped else 1 for axis in STACKED)
        return scale.reshape(self.n_trials, *sizes, 1, 1)

    def entries(self, name: str, trial: int) -> Tensor:
        """Which entries (*looped, *axes) of an array, cut to the trial's ranks, are its own; the
        rest is padding.
        """
        factor = next(factor for factor in self.network.form.learnt if factor.name == name)
        return self._entries(factor, trial)

    def of_trial(self, name: str, tensor: Tensor, trial: int) -> Tensor:
        """One trial's part (*looped, *axes) of a tensor shaped like the array `name`, cut to the
        trial's ranks.
        """
        return tensor[trial][tuple(slice(length) for length in self.entries(name, trial).shape)]

    def _hold(self, drawn: Sequence[dict[str, Tensor]]) -> None:
        """Trained factors become parameters, frozen ones buffers; the trials in a row."""
        self.factors, self.frozen = nn.ParameterDict(), nn.Module()
        for factor in self.network.form.learnt:
            stacked = torch.stack([one[factor.name] for one in drawn])
            if factor.frozen:
                self.frozen.register_buffer(factor.name, stacked)
            else:
                self.factors[factor.name] = nn.Parameter(stacked)

    def _draw(self, trial: int, generator: torch.Generator) -> dict[str, Tensor]:
        drawn = {}
        for factor in self.network.form.learnt:
            mask = self._entries(factor, trial)
            start = self._start(factor, mask, generator)
            sizes = [self.network.sizes(ranks) for ranks in self.trial_ranks[trial]]
            fan = torch.tensor(
                [math.prod(one[name] for name in factor.fan) for one in sizes], dtype=torch.float32
            )
            start = start * mask / fan.sqrt().reshape(*self.looped, *(1,) * len(factor.axes))
            padded = torch.zeros(self._shape(factor)[1:])
            padded[tuple(slice(length) for length in mask.shape)] = start
            drawn[factor.name] = padded
        return drawn

    def _start(self, factor: Factor, entries: Tensor, generator: torch.Generator) -> Tensor:
        looped = self.network.looped
        if self._base is not None and is_of_weights(factor):
            return of_weights(factor, entries, looped, self.head_layout, self._base)
        return drawn(factor, tuple(entries.shape), len(looped), generator)

    def _shape(self, factor: Factor) -> tuple[int, ...]:
        """(trial, *looped, *axes), every bond at its widest."""
        sizes = self.network.sizes(self.ranks)
        return (self.n_trials, *self.looped, *(sizes[axis.name] for axis in factor.axes))

    def _entries(self, factor: Factor, trial: int) -> Tensor:
        copies = self.trial_ranks[trial]
        widest = self.network.sizes(tuple(max(column) for column in zip(*copies, strict=True)))
        mask = torch.ones(
            *self.looped, *(widest[axis.name] for axis in factor.axes), dtype=torch.bool
        )
        for place, axis in enumerate(factor.axes):
            if axis.is_bond:
                ranks = torch.tensor(
                    [copy[self.network.bonds.index(axis.name)] for copy in copies]
                ).reshape(*self.looped, *(1,) * len(factor.axes))
                index = torch.arange(widest[axis.name]).reshape(
                    -1, *(1,) * (len(factor.axes) - 1 - place)
                )
                mask &= index < ranks
        return mask

    @property
    def _input_axes(self) -> tuple[str, ...]:
        return self._parts("input")

    @property
    def _output_axes(self) -> tuple[str, ...]:
        head, channel = self._parts("head"), self._parts("head_dim")
        return (
            *self._parts("output"),
            *(head + channel if self.head_layout == "true" else channel + head),
        )

    def _parts(self, mode: str) -> tuple[str, ...]:
        axes = {axis.name for factor in self.network.factors for axis in factor.axes}
        return tuple(sorted(name for name in axes if name.partition(":")[0] == mode))

    def _sides(self) -> tuple[Contraction, ...]:
        """How the factors make a pair, or the one update of a dense form."""
        if self.network.form.dense:
            every = tuple(range(len(self.network.factors)))
            return (self._contraction(every, self._input_axes, self._output_axes),)
        cut = self.network.cut(self.ranks)
        return (
            self._contraction(cut.left, self._input_axes, cut.bonds),
            self._contraction(cut.right, cut.bonds, self._output_axes),
        )

    def _contraction(self, side: tuple[int, ...], *ends: tuple[str, ...]) -> Contraction:
        names = [
            ["trial", *self.network.looped, *(axis.name for axis in self.network.factors[k].axes)]
            for k in side
        ]
        present = [axis for axis in STACKED if any(axis in one for one in names)]
        letters: dict[str, str] = {}
        for name in (name for one in names for name in one):
            letters.setdefault(name, opt_einsum.get_symbol(len(letters)))
        output = ["trial", *present, *(name for end in ends for name in end)]
        subscripts = (
            ",".join("".join(letters[name] for name in one) for one in names)
            + "->"
            + "".join(letters[name] for name in output)
        )
        shapes = [self._shape(self.network.factors[k]) for k in side]
        # The best path of six factors and more takes seconds to minutes to find.
        how = "optimal" if len(side) <= 5 else "auto"
        expression = opt_einsum.contract_expression(subscripts, *shapes, optimize=how)
        missing = tuple(1 + place for place, axis in enumerate(STACKED) if axis not in present)
        return Contraction(side, expression, missing)

    def _contract(self, contraction: Contraction, factors: dict[str, Tensor]) -> Tensor:
        side, expression, missing = contraction
        result = expression(*(factors[self.network.factors[k].name] for k in side), backend="torch")
        for place in missing:
            result = result.unsqueeze(place)
        return result
