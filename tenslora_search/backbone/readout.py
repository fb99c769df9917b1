"""StackedHeads: the task head of a model, once for each trial of a pack."""

from collections.abc import Collection

import torch
from torch import Tensor, nn

from tenslora_search.nn.attach import head_parameters
from tenslora_search.spec.table import QuestionError


class StackedLinear(nn.Module):
    """K linear maps side by side: trial k's rows of x meet trial k's weight. Computed in
    float32."""

    def __init__(self, like: nn.Linear, n_trials: int) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.empty(n_trials, like.in_features, like.out_features))
        self.bias = (
            nn.Parameter(torch.zeros(n_trials, 1, like.out_features))
            if like.bias is not None
            else None
        )

    def forward(self, x: Tensor) -> Tensor:  # (trial * batch, ..., input)
        rows = x.reshape(len(self.weight), -1, x.shape[-1]).float()
        y = (
            torch.bmm(rows, self.weight)
            if self.bias is None
            else torch.baddbmm(self.bias, rows, self.weight)
        )
        return y.view(*x.shape[:-1], -1)


class StackedHeads:
    """The linear maps of a model's head, replaced by stacked ones while a pack runs; the rest of
    the head stays frozen.

    The last map, and any among `anew` (parameters that the model's weights do not give; None:
    all), is drawn for each trial from its own generator, N(0, initializer_range^2), with biases at
    zero; the other maps start as they were pretrained. With `is_needed` False a model without a
    head has none: its own output is read.
    """

    def __init__(
        self,
        model: nn.Module,
        generators: list[torch.Generator],
        anew: Collection[str] | None = None,
        *,
        is_needed: bool = True,
    ) -> None:
        self.model = model
        self.original = head_maps(model) if is_needed else {}
        if is_needed and not self.original:
            raise QuestionError(
                f"{type(model).__name__} has no task head of linear maps; load it with a "
                "classification head."
            )
        self.stacked: dict[str, StackedLinear] = {}
        std = getattr(getattr(model, "config", None), "initializer_range", 0.02)
        last = next(reversed(self.original), None)
        for name, linear in self.original.items():
            stacked = StackedLinear(linear, len(generators))
            with torch.no_grad():
                if anew is None or name == last or f"{name}.weight" in anew:
                    for trial, generator in enumerate(generators):
                        stacked.weight[trial] = (
                            torch.randn(stacked.weight.shape[1:], generator=generator) * std
                        )
                else:
                    stacked.weight.copy_(linear.weight.T)
                    if stacked.bias is not None:
                        stacked.bias.copy_(linear.bias)
            self.stacked[name] = stacked.to(linear.weight.device)
            model.set_submodule(name, self.stacked[name])

    @property
    def parameters(self) -> dict[str, nn.Parameter]:
        """By the names they have in the unpacked model; a weight is stored (trial, input,
        output)."""
        return {
            f"{name}.{part}": parameter
            for name, module in self.stacked.items()
            for part, parameter in module.named_parameters()
        }

    @property
    def n_params(self) -> int:
        """Trained parameters of one trial's head."""
        return sum(parameter[0].numel() for parameter in self.parameters.values())

    def detach(self) -> None:
        for name, linear in self.original.items():
            self.model.set_submodule(name, linear)


def head_maps(model: nn.Module) -> dict[str, nn.Linear]:
    """The linear maps of the task head by name; the last one gives the logits."""
    inside = head_parameters(model)
    return {
        name: module
        for name, module in model.named_modules()
        if isinstance(module, nn.Linear) and f"{name}.weight" in inside
    }


def set_units(model: nn.Module, mean: float, std: float) -> float:
    """Makes a head that predicts (label - mean) / std predict labels: both go into its last linear
    map. Returns what its output still lacks to be a label: the mean, where that map has no bias
    (decoders), else 0.
    """
    last = [*head_maps(model).values()][-1]
    with torch.no_grad():
        last.weight.mul_(std)
        if last.bias is not None:
            last.bias.mul_(std).add_(mean)
    return mean if last.bias is None else 0.0


def unpacked(name: str, value: Tensor) -> Tensor:
    """A trial's head parameter as the unpacked model holds it: nn.Linear's weight (output, input),
    bias (output,).
    """
    return value.T.contiguous() if name.endswith("weight") else value.reshape(-1)
