"""Facts and Base: what a model card is made of besides the specification."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal

from tenslora_search.data.goals import Goal
from tenslora_search.export.cost import Cost
from tenslora_search.spec.served import Served
from tenslora_search.spec.table import QuestionError
from tenslora_search.spec.wordings import Wording


@dataclass(frozen=True, slots=True)
class Facts:
    """What a run knows of the exported weights."""

    number: int
    task: str
    metric: str
    kind: Literal["text", "text_pair", "image"]
    training: Mapping[str, Any]
    """steps, batch_size and max_length (tokens a text is cut to)"""
    report_rows: int
    select_score: float
    """of the trial in the search"""
    report_scores: Sequence[float]
    """of the retests, each from a fresh seed; the first is that of exactly these weights. Empty:
    never retested.
    """
    budget: int
    head_params: int
    goal: Goal
    command: str
    """what made the run and this folder"""
    label_offset: float = 0.0
    """of numbers whose head has no bias: what its output lacks to be a label"""
    wording: Wording | None = None
    """of text that is written: how prompts were made"""
    served: Served | None = None
    """the LoRA checkpoint that was written; None: by the specification"""
    cost: Cost | None = None
    """of fewer ranks than the adapter has"""
    dataset: str | None = None
    """its id on the hub"""
    license: str | None = None
    """of the adapter, as hubs write it"""
    is_headless: bool = False
    """whether the task head lies beside the checkpoint, not in it"""
    push: str | None = None
    """the repository on the hub that the folder goes to: nothing in it names a path of here"""
    base_name: str | None = None
    """the base's id on the hub, where it was a folder"""
    cut_from: int | None = None
    """the trial whose trained adapter was cut down to this one"""

    @property
    def reads(self) -> Literal["text", "image"]:
        return "image" if self.kind == "image" else "text"

    def __post_init__(self) -> None:
        """`QuestionError` for a value of another kind: most are read from a run's files."""
        numbers = {
            "number": self.number,
            "report_rows": self.report_rows,
            "budget": self.budget,
            "head_params": self.head_params,
            **{f"training {name}": value for name, value in self.training.items()},
        }
        for name, value in numbers.items():
            if isinstance(value, bool) or not isinstance(value, int):
                raise QuestionError(f"{name} of a run is a whole number; got {value!r:.60}.")
        for name in ("dataset", "license"):
            if not isinstance(value := getattr(self, name), str | None):
                raise QuestionError(f"{name} of a run is a text; got {value!r:.60}.")
        for name in ("task", "metric", "kind", "command"):
            if not isinstance(value := getattr(self, name), str):
                raise QuestionError(f"{name} of a run is a text; got {value!r:.60}.")


@dataclass(frozen=True, slots=True)
class Base:
    """The model under the adapter: by its hub id, or (`hub` is None) as a folder."""

    name: str
    place: str
    """where it is loaded from: the hub id or the folder; "" where others do not have that"""
    hub: str | None
    code: str
    """the Python expression that names it in the card's code"""
    note: str = ""
    """for one that is on no hub"""
