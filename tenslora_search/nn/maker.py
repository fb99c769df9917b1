"""Maker: what is trained -> what is contracted, for forms in which the two are not the same."""

from collections.abc import Mapping, Sequence

import torch
from torch import Tensor, nn
from torch.nn import functional

from tenslora_search.spec.form import Factor
from tenslora_search.spec.network import Network

Ranks = tuple[int, ...]


class Maker(nn.Module):
    """Calls a form's `make` on copies of equal ranks, gathered from the padded stack and cut to
    their ranks; what it returns is laid back among zeros.

    So padding never enters a `make`, and a copy's factors do not depend on its neighbours' ranks.
    Which copies are alike is decided once: a call is a fixed list of operations on the device.

    On a GPU a `make` computes in float64, its gradient too. Products in float32 may be rounded to
    TF32 there, where 2 (I + Z)^-1 - I, which starts at 0, would start at some 1e-3: the update
    would not begin at zero, its bound would not hold, and Adam would step on the noise.
    """

    order: Tensor

    def __init__(self, network: Network, copies: Sequence[Ranks], widest: Ranks) -> None:
        super().__init__()
        self.network, self.widest = network, widest
        alike: dict[Ranks, list[int]] = {}
        for place, ranks in enumerate(copies):
            alike.setdefault(ranks, []).append(place)
        self.ranks = tuple(alike)
        for number, places in enumerate(alike.values()):
            self.register_buffer(f"copies_{number}", torch.tensor(places), persistent=False)
        gathered = torch.tensor([place for places in alike.values() for place in places])
        self.register_buffer("order", gathered.argsort(), persistent=False)

    def forward(self, learnt: Mapping[str, Tensor]) -> dict[str, Tensor]:
        """Every factor (copy, *axes), padded -> the contracted factors, likewise."""
        parts = [self._made(number, learnt) for number in range(len(self.ranks))]
        if len(parts) == 1:
            return parts[0]
        whole = {name: torch.cat([part[name] for part in parts]) for name in parts[0]}
        return {name: stack.index_select(0, self.order) for name, stack in whole.items()}

    def _made(self, number: int, learnt: Mapping[str, Tensor]) -> dict[str, Tensor]:
        """The contracted factors of the copies of one kind of ranks, padded to the widest."""
        form, ranks = self.network.form, self.ranks[number]
        assert form.make is not None
        copies: Tensor = self.get_buffer(f"copies_{number}")
        cut = {
            factor.name: self._cut(factor, ranks, learnt[factor.name], copies)
            for factor in form.learnt
        }
        given = next(iter(cut.values())).dtype
        exact = torch.float64 if copies.is_cuda else given
        made = form.make({name: value.to(exact) for name, value in cut.items()})
        return {
            factor.name: self._padded(factor, made[factor.name].to(given))
            for factor in form.factors
        }

    def _cut(self, factor: Factor, ranks: Ranks, stack: Tensor, copies: Tensor) -> Tensor:
        """Some copies of a factor, without padding."""
        some = stack if len(self.ranks) == 1 else stack.index_select(0, copies)
        sizes = self.network.sizes(ranks)
        for place, axis in enumerate(factor.axes):
            some = some.narrow(1 + place, 0, sizes[axis.name])
        return some

    def _padded(self, factor: Factor, made: Tensor) -> Tensor:
        sizes = self.network.sizes(self.widest)
        missing = [
            sizes[axis.name] - length
            for axis, length in zip(factor.axes, made.shape[1:], strict=True)
        ]
        pads = [pad for length in reversed(missing) for pad in (0, length)]
        return functional.pad(made, pads) if any(missing) else made
