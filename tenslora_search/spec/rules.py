"""RULES: how a trial trains its factors. A rule gives each factor's learning rate as a multiple of the trial's."""

from collections.abc import Callable

from tenslora_search.spec.decompositions import Factor
from tenslora_search.spec.table import Table


def plain(factor: Factor) -> float:
    """Every factor at the trial's learning rate."""
    return 1.0


def lora_plus(factor: Factor) -> float:
    """The factor that starts at zero learns 16 times as fast: LoRA+, arXiv 2402.12354; on a Tucker core, TensLoRA+."""
    return 16.0 if factor.start == "zero" else 1.0


RULES: Table[Callable[[Factor], float]] = Table("rule", {entry.__name__: entry for entry in (plain, lora_plus)})
