"""TrialSpec, TrialResult, Segment: what is trained, what came out, and the unit of work between;
JSON there and back.
"""

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Annotated, Any

from tenslora_search.spec.adapter import AdapterSpec
from tenslora_search.spec.allocators import ALLOCATORS
from tenslora_search.spec.knobs import Named, Range
from tenslora_search.spec.methods import method_name
from tenslora_search.spec.rules import RULES
from tenslora_search.spec.table import QuestionError

PLAIN, LEVEL = Named("plain"), Named("level")
"""The rule and the allocator of a trial that says nothing else; in JSON the allocator is then left
out, as it was before there was a choice.
"""


@dataclass(frozen=True, slots=True)
class TrialSpec:
    """Everything that decides a trial's score besides the data.

    A number that carries a `Range` may stand in a search space. `rule` and `allocator` may be given
    by their names alone.
    """

    adapter: AdapterSpec
    learning_rate: Annotated[float, Range(1e-12, 1e6, log=True)]
    """of the adapter, at the top of the schedule"""
    head_learning_rate: Annotated[float, Range(1e-12, 1e6, log=True)]
    """of the task head"""
    weight_decay: Annotated[float, Range(0.0, 1e6, log=True)] = 0.0
    clip: Annotated[float, Range(1e-12, 1e12, log=True)] = 1.0
    """largest gradient norm of the trial, adapter and head together"""
    warmup: Annotated[float, Range(0.0, 1.0)] = 0.06
    """share of all steps over which the learning rate rises; it then falls to 0 along a cosine"""
    rule: Named = PLAIN
    """of RULES: how it is trained"""
    seed: int = 0
    """the factors and the head start from it"""
    allocator: Named = LEVEL
    """of ALLOCATORS: how its ranks were found; what is trained does not depend on it"""

    def __post_init__(self) -> None:
        object.__setattr__(self, "rule", Named.of(RULES, self.rule))
        object.__setattr__(self, "allocator", Named.of(ALLOCATORS, self.allocator))

    @property
    def method(self) -> str:
        """The name people know: LoRA, LoRA+, LoTR, TensLoRA qkv_depth, ..."""
        structure = self.adapter.canonical().structure
        return method_name(structure, rule=self.rule.name, allocator=self.allocator.name)

    def columns(self) -> dict[str, Any]:
        """Every field of the trial and its adapter by name, for tables; knobs as "gate.xi"."""
        adapter = self.adapter
        found: dict[str, Any] = {
            "construction": adapter.construction,
            "decomposition": adapter.decomposition,
            "map": adapter.after.name,
            "rule": self.rule.name,
            "allocator": self.allocator.name,
            "sites": " ".join(adapter.geometry.projections),
            "ranks": adapter.ranks,
            "scale": adapter.scale,
            "alpha": adapter.alpha,
            "head_layout": adapter.head_layout,
        }
        for name in self.__slots__:
            if name not in ("adapter", "rule", "allocator"):
                found[name] = getattr(self, name)
        decomposition = Named(adapter.decomposition, adapter.options)
        for entry in (decomposition, adapter.after, self.rule, self.allocator):
            found |= {f"{entry.name}.{name}": value for name, value in entry.options}
        return found

    def to_json(self) -> dict[str, Any]:
        fields = {name: getattr(self, name) for name in self.__slots__}
        fields |= {"adapter": self.adapter.to_json(), "rule": self.rule.to_json()}
        if self.allocator == LEVEL:
            del fields["allocator"]
        else:
            fields["allocator"] = self.allocator.to_json()
        return fields

    @classmethod
    def from_json(cls, data: Mapping[str, Any]) -> "TrialSpec":
        odd = sorted((set(data) ^ set(cls.__slots__)) - {"allocator"})
        if odd:
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
