"""Segment, Probe, TrialResult: what a worker is asked, and what came out; JSON there and back."""

from collections.abc import Mapping
from dataclasses import asdict, dataclass, field, replace
from typing import Any

from tenslora_search.runs.fields import ByClass, Name, Number, Seconds, record_of
from tenslora_search.spec.adapter import AdapterSpec
from tenslora_search.spec.trial import TrialSpec

HEAD_ALONE = 999_999_999
"""The number of the entrant whose task head alone is trained: it is no trial of the search."""


@dataclass(frozen=True, slots=True)
class Entrant:
    """A trial on its way up."""

    number: Number
    spec: TrialSpec
    state: str | None = None
    """the file of its paused state; None starts it"""
    cut_to: AdapterSpec | None = None
    """what it is cut down to once it is trained: the score and the state are those of the cut"""

    @property
    def ended(self) -> TrialSpec:
        """The trial whose score and state come back."""
        return replace(self.spec, adapter=self.cut_to) if self.cut_to else self.spec

    def to_json(self) -> dict[str, Any]:
        said: dict[str, Any] = {
            "number": self.number,
            "spec": self.spec.to_json(),
            "state": self.state,
        }
        return said | ({"cut_to": self.cut_to.to_json()} if self.cut_to else {})


@dataclass(frozen=True, slots=True)
class Setting:
    """What all trials of a search share. The default is that of a training loop of one's own,
    about which nothing is known.
    """

    model: str = "own"
    task: Mapping[str, Any] = field(default_factory=dict[str, Any])
    """arguments of `load_task`"""
    batch_size: int = 1
    max_steps: int = 1
    retain: str | None = None
    """text that must not be forgotten: a task or a file"""
    trainer: str = "packs"
    """in TRAINERS"""
    space: str = ""
    """that the trials are of: it decides which maps they adapt, and what is done to the update"""


@dataclass(frozen=True, slots=True)
class Segment:
    """Trials that stand on one step, to be trained to a later one on the same batches: all that a
    worker needs to know.
    """

    id: Name
    entrants: tuple[Entrant, ...]
    from_step: Number
    to_step: Number
    setting: Setting
    data_seed: Number = 0
    split: str = "select"
    """what the trials are scored on: select, or report in the retest"""

    @property
    def numbers(self) -> tuple[int, ...]:
        return tuple(one.number for one in self.entrants)

    def to_json(self) -> dict[str, Any]:
        entrants = [one.to_json() for one in self.entrants]
        shallow = {name: getattr(self, name) for name in self.__slots__}
        return {**shallow, "entrants": entrants, "setting": asdict(self.setting)}

    @classmethod
    def from_json(cls, data: object) -> "Segment":
        return record_of(cls, data)


@dataclass(frozen=True, slots=True)
class Probe:
    """A question about model, data and card that one worker answers for a whole search."""

    name: Name
    """in PROBES"""
    setting: Setting
    specs: tuple[TrialSpec, ...]
    """trials like those that the search will try"""

    @property
    def id(self) -> str:
        return f"probe-{self.name}"

    def to_json(self) -> dict[str, Any]:
        specs = [spec.to_json() for spec in self.specs]
        return {"name": self.name, "setting": asdict(self.setting), "specs": specs}

    @classmethod
    def from_json(cls, data: object) -> "Probe":
        return record_of(cls, data)


Answer = tuple[float, ...]
"""Of a probe, whose entry in PROBES says what its numbers mean; `pack_size` has one."""


@dataclass(frozen=True, slots=True)
class TrialResult:
    """One trial at the end of one segment. `score` is None for one that failed, of which `reason`
    says why, and for one that was cut short at `step`, before the segment's end.
    """

    number: Number
    step: Number
    score: float | None
    loss: float | None
    reason: str | None
    seconds: Seconds
    """its share of the time that its pack spent in training and scoring"""
    peak_memory_mb: Seconds | None = None
    """its share of what its pack held at most on a GPU, the backbone included"""
    n_nonzero: Number | None = None
    """trained numbers that training has left in terms that are not zero; None: all of them"""
    measures: Mapping[str, float] | None = None
    """what was measured besides in a retest, by name"""
    by_class: ByClass | None = None
    """of a retest, where rows have classes or labels"""

    @property
    def is_cut(self) -> bool:
        return self.score is None and self.reason is None

    def to_json(self) -> dict[str, Any]:
        return asdict(self)

    @classmethod
    def from_json(cls, data: object) -> "TrialResult":
        return record_of(cls, data)
