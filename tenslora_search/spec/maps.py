"""MAPS: what is done to the whole update of a site before it is added, W + f(update)."""

from collections.abc import Callable
from typing import TYPE_CHECKING, Annotated

from tenslora_search.spec.knobs import Range
from tenslora_search.spec.table import Table

if TYPE_CHECKING:
    from torch import Tensor

Map = Callable[..., "Tensor"]
"""(update (trial, input, output), *, knobs) -> the same shape, entry by entry; 0 stays 0."""


def as_is(update: "Tensor") -> "Tensor":
    """The update itself: a low-rank pair, which is never multiplied out."""
    return update


def sinter(
    update: "Tensor",
    *,
    amplitude: Annotated[float, Range(1e-6, 1e-3, log=True)] = 5e-5,
    frequency: Annotated[float, Range(1e2, 1e5, log=True)] = 1e4,
) -> "Tensor":
    """LoRAN's f(z) = z + amplitude z sin(frequency z): full rank from low rank, at the cost of a
    dense product.

    f(0) = 0 and f'(0) = 1, so training starts as without it; keep amplitude x frequency below 1.
    Reference: LoRAN, Findings of EMNLP 2024; defaults of its published runs
    (liyinqiao2012/PEFT-LoRAN at ab8dccb).
    """
    return update * (1 + amplitude * (frequency * update).sin())


MAPS: Table[Map] = Table("map", {entry.__name__: entry for entry in (as_is, sinter)})
"""`as_is` alone keeps the update a pair; any other map is dense."""
