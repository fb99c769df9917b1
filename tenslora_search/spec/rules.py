"""RULES: how a trial is trained. An entry's knobs are keyword parameters; it returns a `Rule`."""

from collections.abc import Callable

from tenslora_search.spec.form import Care, Rule
from tenslora_search.spec.table import Table


def plain() -> Rule:
    """Every factor at the trial's learning rate."""
    return Rule()


def lora_plus() -> Rule:
    """The factor that starts at zero learns 16 times as fast: LoRA+, arXiv 2402.12354; on a Tucker
    core, TensLoRA+.
    """
    return Rule(care=lambda factor: Care(rate=16.0 if factor.start == "zero" else 1.0))


RULES: Table[Callable[..., Rule]] = Table(
    "rule", {entry.__name__: entry for entry in (plain, lora_plus)}
)
