"""BaseWeights: the frozen weights that a shape group adapts, for factors that start from them."""

from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple
from weakref import WeakKeyDictionary

import torch
from torch import Tensor, nn

from tenslora_search.nn.sites import Place, is_quantized, of_columns
from tenslora_search.spec.geometry import STACKED, Group
from tenslora_search.spec.table import QuestionError

KEPT = 64
"""Singular vectors that are kept for the next adapter, unless more are asked for."""


class Unfolded(NamedTuple):
    """The leading left singular vectors of an unfolding (*looped, row, column), largest first, and
    their singular values (*looped, column).
    """

    vectors: Tensor
    values: Tensor


_FOUND: "WeakKeyDictionary[nn.Module, dict[object, Unfolded]]" = WeakKeyDictionary()
"""By model, so that pack after pack on one backbone decomposes its weights once."""


class BaseWeights:
    """Of one shape group, read and decomposed when a factor asks, once for each set of modes.

    Oriented as the group's tensors are: a transposed projection's weight is turned.
    """

    def __init__(
        self,
        model: nn.Module,
        maps: Mapping[str, nn.Module],
        places: Mapping[str, Sequence[Place]],
        group: Group,
    ) -> None:
        self._maps, self._places, self._group = maps, places, group
        self._found = _FOUND.setdefault(model, {})

    def unfolded(
        self, modes: tuple[str, ...], looped: tuple[str, ...], head_layout: str, n_columns: int
    ) -> Unfolded:
        """Along `modes`, for each copy of the `looped` axes: singular vectors of rows that are the
        modes, and columns that are all other axes (an HOSVD). Found in float64, on the weights'
        device; `n_columns` or more of them, on the CPU.
        """
        key = (modes, looped, head_layout, self._group, self._stamp)
        if key not in self._found or self._found[key].values.shape[-1] < n_columns:
            heads = ("head", "head_dim") if head_layout == "true" else ("head_dim", "head")
            split = (*STACKED, "input", *heads)
            whole = self.whole().double().reshape([self._group.size(axis) for axis in split])
            rows = [one for mode in modes for one in (heads if mode == "output" else (mode,))]
            rest = [one for one in split if one not in rows and one not in looped]
            turned = whole.permute([split.index(one) for one in (*looped, *rows, *rest)])
            matrix = turned.flatten(len(looped) + len(rows)).flatten(len(looped), -2)
            # Eigenvectors of the small Gram matrix: no more than rows, however many layers stack.
            squares, vectors = torch.linalg.eigh(matrix @ matrix.mT)
            most = max(KEPT, n_columns)
            values = squares.clamp_min(0).sqrt().flip(-1)[..., :most]
            vectors = vectors.flip(-1)[..., :most]
            self._found[key] = Unfolded(vectors.float().cpu(), values.float().cpu())
        return self._found[key]

    @property
    def _stamp(self) -> tuple[tuple[str, int, int], ...]:
        """Which weights these are, and whether anybody has written to them since."""
        places = [one for name in self._group.projections for one in self._places[name]]
        weights: list[Any] = [self._maps[one.module].weight for one in places]
        return tuple(
            (str(place), weight.data_ptr(), weight._version)
            for place, weight in zip(places, weights, strict=True)
        )

    def whole(self) -> Tensor:  # (projection, layer, input, output)
        """The weights of all maps of the group. `QuestionError` where they are no numbers here."""
        rows = [
            torch.stack([self._weight(name, place) for place in self._places[name]])
            for name in self._group.projections
        ]
        return torch.stack(rows)

    def _weight(self, projection: str, place: Place) -> Tensor:  # (input, output) of the tensor
        module = self._maps[place.module]
        weight: Tensor = module.weight.detach()  # type: ignore[operator, union-attr, assignment]
        if is_quantized(weight) or weight.is_meta:
            found = "offloaded" if weight.is_meta else f"quantized ({weight.dtype})"
            raise QuestionError(
                f"factors that start from the weights need those of {place.module}, which are "
                f"{found}; load the model whole, or take another decomposition."
            )
        matrix = weight.T if isinstance(module, nn.Linear) else weight
        matrix = of_columns(matrix, place.columns).reshape(len(matrix), -1).float()
        return matrix.T if projection in self._group.transposed else matrix
