"""TrialSpec: everything that decides a trial's score besides the data; JSON there and back."""

from collections.abc import Mapping
from dataclasses import dataclass
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
