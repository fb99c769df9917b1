"""SharedEmbeddings: what stands before the first adapted layer is the same for all trials of a
pack, and computed once.
"""

from typing import Any

import torch
from torch import Tensor, nn


class SharedEmbeddings:
    """While a pack runs, the `embeddings` of its backbone see the rows of one trial; the others get
    a copy of what comes out.

    Backbones that embed otherwise (a bare table of tokens, as decoders have) do it for every trial:
    it costs them little.
    """

    def __init__(self, model: nn.Module, n_trials: int) -> None:
        self.n_trials = n_trials
        embeddings = getattr(getattr(model, "base_model", None), "embeddings", None)
        self._hooks = []
        if n_trials > 1 and isinstance(embeddings, nn.Module):
            self._hooks = [
                embeddings.register_forward_pre_hook(self._first, with_kwargs=True),
                embeddings.register_forward_hook(self._repeat),
            ]

    def detach(self) -> None:
        for hook in self._hooks:
            hook.remove()

    def _first(
        self, module: nn.Module, inputs: tuple[Any, ...], options: dict[str, Any]
    ) -> tuple[tuple, dict]:
        """The first trial's share of every tensor that has all trials' rows; positions, which have
        one row, stay.
        """
        return tuple(map(self._share, inputs)), {
            name: self._share(value) for name, value in options.items()
        }

    def _repeat(self, module: nn.Module, inputs: tuple[Any, ...], output: Tensor) -> Tensor:
        return output.repeat(self.n_trials, *(1,) * (output.ndim - 1))

    def _share(self, value: Any) -> Any:
        if isinstance(value, torch.Tensor) and value.ndim and value.shape[0] >= self.n_trials:
            return value[: value.shape[0] // self.n_trials]
        return value
