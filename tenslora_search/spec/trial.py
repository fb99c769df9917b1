"""TrialSpec, TrialResult, Segment: what is trained, what came out, and the unit of work between;
JSON there and back.
"""

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any

from tenslora_search.spec.adapter import AdapterSpec
from tenslora_search.spec.table import QuestionError


@dataclass(frozen=True, slots=True)
class TrialSpec:
    """Everything that decides a trial's score besides the data."""

    adapter: AdapterSpec
    learning_rate: float
    """of the adapter, at the top of the schedule"""
    head_learning_rate: float
    """of the task head"""
    weight_decay: float = 0.0
    clip: float = 1.0
    """largest gradient norm of the trial, adapter and head together"""
    warmup: float = 0.06
    """share of all steps over which the learning rate rises; it then falls to 0 along a cosine"""
    rule: str = "plain"
    seed: int = 0
    """the factors and the head start from it"""

    def to_json(self) -> dict[str, Any]:
        fields = {name: getattr(self, name) for name in self.__slots__}
        return {**fields, "adapter": self.adapter.to_json()}

    @classmethod
    def from_json(cls, data: Mapping[str, Any]) -> "TrialSpec":
        if set(data) != set(cls.__slots__):
            odd = sorted(set(data) ^ set(cls.__slots__))
            raise QuestionError(
                f"this is no trial of ours: {', '.join(odd)} is missing or unknown."
            )
        fields = dict(data)
        fields["adapter"] = AdapterSpec.from_json(data["adapter"])
        return cls(**fields)


@dataclass(frozen=True, slots=True)
class TrialResult:
    """One trial at the end of one segment; `score` and `loss` are None and `reason` says why when
    it failed.
    """

    number: int
    step: int
    score: float | None
    loss: float | None
    reason: str | None
    seconds: float
    """its share of the time that its pack spent in training and scoring"""
    peak_memory_mb: float | None = None
    """its share of what its pack held at most on a GPU, the backbone included"""

    def to_json(self) -> dict[str, Any]:
        return asdict(self)

    @classmethod
    def from_json(cls, data: Mapping[str, Any]) -> "TrialResult":
        return cls(**data)


@dataclass(frozen=True, slots=True)
class Segment:
    """Trials that stand on one rung, to be trained to the next on the same batches: all that a
    worker needs to know.
    """

    id: str
    trials: tuple[tuple[int, TrialSpec], ...]
    states: tuple[str | None, ...]
    """for each trial the file of its paused state; None starts it"""
    from_step: int
    to_step: int
    max_steps: int
    batch_size: int
    model: str
    task: Mapping[str, Any]
    """arguments of `load_task`"""
    data_seed: int = 0
    split: str = "select"
    """what the trials are scored on: select, or report in the retest"""
    measures: bool = False
    """asks how many such trials make a good pack on the worker, instead of training them: a result
    whose score is the size
    """

    def to_json(self) -> dict[str, Any]:
        fields = {name: getattr(self, name) for name in self.__slots__}
        return {
            **fields,
            "task": dict(self.task),
            "trials": [[number, spec.to_json()] for number, spec in self.trials],
        }

    @classmethod
    def from_json(cls, data: Mapping[str, Any]) -> "Segment":
        fields = dict(data)
        fields["trials"] = tuple(
            (number, TrialSpec.from_json(spec)) for number, spec in data["trials"]
        )
        fields["states"] = tuple(data["states"])
        return cls(**fields)
