"""TrialSpec: everything that decides a trial's score besides the data; JSON there and back."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Annotated, Any

from tenslora_search.spec.adapter import AdapterSpec
from tenslora_search.spec.allocators import ALLOCATORS
from tenslora_search.spec.form import Rule
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

    @property
    def rules(self) -> tuple[Rule, ...]:
        """How it is trained: by its own rule and, if it has one, its form's."""
        of_form = self.adapter.networks[0].form.rule
        own: Rule = self.rule.make(RULES)
        return (own, of_form) if of_form else (own,)

    def check_steps(self, n_steps: int) -> None:
        """`QuestionError` where a trial of so many steps cannot be trained by its rules."""
        links = max(rule.links for rule in self.rules)
        if links > n_steps:
            raise QuestionError(
                f"{self.method} is a chain of {links} links, more than the {n_steps} steps of a "
                "trial; give fewer links, or more steps."
            )

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
