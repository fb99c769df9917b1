"""BaseWeights: the frozen weights that a shape group adapts, for factors that start from them."""

from collections.abc import Mapping, Sequence
from typing import NamedTuple

import torch
from torch import Tensor, nn

from tenslora_search.nn.sites import Place, is_quantized, of_columns
from tenslora_search.spec.geometry import STACKED, Group
from tenslora_search.spec.table import QuestionError

AXES = (*STACKED, "input", "head", "head_dim")
"""Of a shape group's weights, heads told apart."""


class Unfolded(NamedTuple):
    """The left singular vectors of an unfolding (*looped, row, column), largest first, and their
    singular values (*looped, column): as many as it has rows.
    """

    vectors: Tensor
    values: Tensor


class BaseWeights:
    """Of one shape group, read and decomposed when a factor asks, once for each set of modes.

    Oriented as the group's tensors are: a transposed projection's weight is turned.
    """

    def __init__(
        self, maps: Mapping[str, nn.Module], places: Mapping[str, Sequence[Place]], group: Group
    ) -> None:
        self._maps, self._places, self._group = maps, places, group
        self._found: dict[tuple[object, ...], Unfolded] = {}

    def unfolded(
        self, modes: tuple[str, ...], looped: tuple[str, ...], head_layout: str
    ) -> Unfolded:
        """Along `modes`, for each copy of the `looped` axes: singular vectors of rows that are the
        modes, and columns that are all other axes (an HOSVD). In float64, where the weights are.
        """
        key = (modes, looped, head_layout)
        if key not in self._found:
            heads = ("head", "head_dim") if head_layout == "true" else ("head_dim", "head")
            split = (*AXES[:3], *heads)
            whole = self.whole().double()
            whole = whole.reshape([self._group.size(axis) for axis in split])
            rows = [one for mode in modes for one in (heads if mode == "output" else (mode,))]
            rest = [one for one in split if one not in rows and one not in looped]
            turned = whole.permute([split.index(one) for one in (*looped, *rows, *rest)])
            matrix = turned.flatten(len(looped) + len(rows)).flatten(len(looped), -2)
            # Eigenvectors of the small Gram matrix: no more than rows, however many layers stack.
            squares, vectors = torch.linalg.eigh(matrix @ matrix.mT)
            values = squares.clamp_min(0).sqrt().flip(-1)
            self._found[key] = Unfolded(vectors.flip(-1).float().cpu(), values.float().cpu())
        return self._found[key]

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
