"""TRAINERS: who trains segments and answers probes, by the module that has the functions; it is
imported when it is needed.
"""

from collections.abc import Callable, Sequence
from importlib import import_module
from pathlib import Path
from typing import Protocol, cast

from tenslora_search.runs.segment import Answer, Probe, Segment, Setting, TrialResult
from tenslora_search.spec.table import Table


class Trainer(Protocol):
    """A module with these functions. Each is pure: work that was lost may be done again."""

    def run(
        self, segment: Segment, folder: Path, is_over: Callable[..., bool] | None = None
    ) -> Sequence[TrialResult]:
        """Trains and scores a segment's trials; their states as NUMBER.safetensors in `folder`.
        Between steps it asks `is_over`, and may tell it the step: `is_over(120)`.
        """
        ...

    def probe(self, probe: Probe) -> Answer:
        """What was asked about model, data and card."""
        ...


TRAINERS: Table[str] = Table("trainer", {"packs": "tenslora_search.training.segment"})


def trainer(setting: Setting) -> Trainer:
    """The trainer of a search, imported."""
    return cast(Trainer, import_module(TRAINERS[setting.trainer]))
