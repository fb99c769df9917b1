"""Space: what a point of a search stands for; every point fits the budget.

A point is flat, so that any sampler can model it: a structure (construction x decomposition), a
size as a share of the budget, one weight an axis, a learning rate, the knobs of every entry. An
allocator turns weights and size into ranks. Knobs of entries not chosen never reach the trial.
"""

import json
import random
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from functools import cached_property
from typing import Any

from tenslora_search.spec.adapter import AdapterSpec
from tenslora_search.spec.allocators import ALLOCATORS, Allocator, Measured, level_ranks
from tenslora_search.spec.form import Rule
from tenslora_search.spec.geometry import Geometry
from tenslora_search.spec.knobs import Choice, Knob, Named, Range, knobs
from tenslora_search.spec.rules import RULES
from tenslora_search.spec.structure import Structure
from tenslora_search.spec.trial import LEVEL, TrialSpec
from tenslora_search.study.feasible import Row, row_of
from tenslora_search.study.limits import ANY, Limits
from tenslora_search.study.parameters import has, is_constant, middle, near, values_of
from tenslora_search.study.prior import GRADIENT_PROBE, Prior
from tenslora_search.study.roles import ROLES, bond_roles
from tenslora_search.study.space_file import TABLES, Pair, Parameter
from tenslora_search.study.space_values import WHOLE

Point = Mapping[str, Any]


@dataclass(frozen=True)
class Space:
    """The points for one model and one budget (parameters of the adapter)."""

    name: str
    geometries: Mapping[str, Geometry]
    """by the name of the sites, in the space's order"""
    budget: int
    structures: Mapping[str, Pair]
    """by their text, or by method: those of which the smallest member fits on some sites"""
    parameters: Mapping[str, Parameter]
    """besides structure; a parameter with one value only is a constant"""
    knobs: Mapping[str, Knob]
    """of the entries that the space names, by the parameter's name"""
    measured: Mapping[str, Measured] = field(default_factory=dict[str, Measured])
    """by probe, for allocators and a prior that need one; counts and tables do not"""
    own: Mapping[str, Mapping[str, str]] = field(default_factory=dict[str, Mapping[str, str]])
    """of a space over methods: for each the parameters that stand in for those of all"""
    leaves_out: bool = False
    """whether methods that cannot be are left out: those that no user has named"""
    limits: Limits = ANY
    prior: Prior = field(default_factory=Prior)

    @property
    def geometry(self) -> Geometry:
        """Of the first sites."""
        return next(iter(self.geometries.values()))

    @cached_property
    def needs(self) -> tuple[str, ...]:
        """The probes that its allocators and its prior take numbers from, each once."""
        found = {
            self._allocator(name, self.values(text, {}))[1].needs: None
            for text in self.structures
            for _, name in self.combinations(text)
        }
        of_prior = (GRADIENT_PROBE,) if self.prior.gradient else ()
        return (*(need for need in found if need), *of_prior)

    @cached_property
    def searched(self) -> dict[str, Parameter]:
        """What a sampler chooses: the structure, or the method, and all parameters that are no
        constants.
        """
        varying = {name: one for name, one in self.parameters.items() if not is_constant(one)}
        return {self.kind: Choice(tuple(self.structures)), **varying}

    @property
    def kind(self) -> str:
        """What a point says first: its method, or its structure."""
        return "method" if self.own else "structure"

    def trial(self, point: Point, seed: int) -> TrialSpec:
        """The trial that a point stands for; its adapter is canonical and within the budget.

        Parameters that the point leaves out take their constant, or the middle of their range. A
        structure that its allocator cannot divide takes the first of the space's that can, on the
        point's sites if it fits there.
        """
        text = point[self.kind]
        plain = dict.fromkeys(ROLES, 0.5) | {"allocator": LEVEL.name}
        ways = point, {**point, **plain}, {**point, **plain, **self._usual_knobs}
        found = next(filter(None, (self._divided(text, way) for way in ways)), None)
        assert found is not None, f"nothing of {text} keeps to {self.limits}"
        allocator, adapter = found
        assert adapter.n_params <= self.budget, f"{adapter} is over {self.budget}"
        values = self.values(text, point)
        numbers: dict[str, Any] = {
            knob.name: self._number(knob, knob.name, values) for knob in knobs(TrialSpec)
        }
        return TrialSpec(
            adapter,
            **numbers,
            rule=self._entry("rule", values["rule"], values),
            allocator=allocator,
            seed=seed,
        )

    def _divided(self, text: str, point: Point) -> tuple[Named, AdapterSpec] | None:
        """The allocator and the canonical adapter of a point; None if it breaks a limit."""
        values = self.values(text, point)
        possible = self.combinations(text)
        asked = values["sites"], values["allocator"]
        alike = [one for one in possible if one[0] == asked[0]]
        sites, name = asked if asked in possible else [*alike, *possible][0]
        structure = self.structure(text, sites, values)
        allocator, entry = self._allocator(name, values)
        weights = [values[role] for role in bond_roles(structure)]
        measured = self.measured.get(entry.needs, Measured())

        def make(size: int) -> AdapterSpec:
            ranks = entry.divide(structure, size, weights, measured)
            return AdapterSpec.over(structure, ranks, scale=values["scale"])

        size = min(self.budget, round(self.budget * values["size"]))
        adapter = self.limits.nearest(make, size, self.budget)
        if adapter is None:
            return None
        adapter = adapter.canonical()
        told_apart = adapter.is_per_copy or not entry.over
        return allocator if told_apart else LEVEL, adapter

    def structure(self, text: str, sites: str, point: Point) -> Structure:
        """With the knobs of a point; the usual ones where these make even ranks of 1 too large."""
        construction, decomposition = self.structures[text]
        found = [
            Structure.of(
                construction,
                decomposition,
                self.geometries[sites],
                options=self._entry("decomposition", decomposition, values).options,
                after=self._entry("map", values["map"], values),
            )
            for values in (
                self.values(text, point),
                self.values(text, {**point, **self._usual_knobs}),
            )
        ]
        return found[0] if found[0].smallest <= self.budget else found[1]

    def rules(self, text: str, point: Point) -> list[Rule]:
        """All that a structure or method may be trained by with a point's knobs."""
        values = self.values(text, point)
        names = values_of(self.parameter(text, "rule"))
        form = self.structure(text, self.sites(text)[0], point).networks[0].form
        found: list[Rule] = [self._entry("rule", name, values).make(RULES) for name in names]
        return [*found, form.rule] if form.rule else found

    def nudged(self, point: Point, generator: random.Random, reach: float) -> dict[str, Any]:
        """A point near another: numbers moved by up to `reach` of their range; beyond 1 everything
        is drawn anew.
        """
        moved = dict(point)
        for name, one in self.searched.items():
            if isinstance(one, Choice):
                if reach > 1:
                    moved[name] = generator.choice(one.values)
                continue
            moved[name] = near(one, point.get(name, middle(one)), generator, reach)
        return moved

    def holds(self, point: Point) -> bool:
        """Whether a point, of an earlier search perhaps, is one that may be proposed here; of a
        range of sizes, which the model decides, whatever its ends are.
        """
        accepted = dict(self.searched)
        if isinstance(accepted.get("size"), Range):
            accepted["size"] = WHOLE
        return point.keys() == accepted.keys() and all(
            has(one, point[name]) for name, one in accepted.items()
        )

    def key(self, trial: TrialSpec) -> str:
        """Equal for two trials that would train the same thing; neither the seed counts nor how the
        ranks were found.
        """
        return json.dumps(replace(trial, seed=0, allocator=LEVEL).to_json(), sort_keys=True)

    def table(self) -> list[Row]:
        """Each structure or method that fits in numbers, on each of the sites on which it does."""
        return [
            self._row(text, sites)
            for text in self.structures
            for sites in dict.fromkeys(sites for sites, _ in self.combinations(text))
        ]

    def _row(self, text: str, sites: str) -> Row:
        row = row_of(self.structure(text, sites, {}), self.budget, sites, self.limits)
        if not self.own:
            return row
        point = {self.kind: text, "size": 1.0, "sites": sites, **dict.fromkeys(ROLES, 0.5)}
        values = self.values(text, point)
        is_measured = not self._allocator(values["allocator"], values)[1].needs
        largest = self.trial(point, 0).adapter.n_params if is_measured else row.largest
        return row._replace(method=text, largest=max(row.smallest, largest))

    def values(self, text: str, point: Point) -> dict[str, Any]:
        """Every parameter of a point, for its structure or method: what the point leaves out as
        usual, and the method's own in place of those of all.
        """
        values = {**self.usual, **point, self.kind: text}
        return values | {key: values[name] for key, name in self.own.get(text, {}).items()}

    def parameter(self, text: str, key: str) -> Parameter:
        """Of a structure or method."""
        return self.parameters[self.own.get(text, {}).get(key, key)]

    def sites(self, text: str) -> tuple[str, ...]:
        return values_of(self.parameter(text, "sites"))

    @cached_property
    def usual(self) -> dict[str, Any]:
        """Constants, the first of choices, the middles of ranges, the defaults of knobs."""
        middles = {name: middle(one) for name, one in self.parameters.items()}
        return {**middles, **self._usual_knobs}

    @cached_property
    def _usual_knobs(self) -> dict[str, Any]:
        return {
            name: knob.default if has(self.parameters[name], knob.default) else
            middle(self.parameters[name])
            for name, knob in self.knobs.items()
        }  # fmt: skip

    def combinations(self, text: str) -> list[tuple[str, str]]:
        """The sites and allocators of the space that a structure can have within budget and
        limits.
        """
        if text not in self._possible:
            self._possible[text] = self._found_combinations(text)
        return self._possible[text]

    @cached_property
    def _possible(self) -> dict[str, list[tuple[str, str]]]:
        return {}

    def _found_combinations(self, text: str) -> list[tuple[str, str]]:
        found: list[tuple[str, str]] = []
        values = self.values(text, {})
        for sites in self.sites(text):
            structure = self.structure(text, sites, {})
            if structure.smallest > self.budget or not self._can_keep(structure):
                continue
            for name in values_of(self.parameter(text, "allocator")):
                if self._allocator(name, values)[1].can_divide(structure):
                    found.append((sites, name))
        return found

    def _can_keep(self, structure: Structure) -> bool:
        """Whether something of a structure that fits the budget keeps to the limits."""
        if self.limits == ANY:
            return True
        weights = [0.5] * len(structure.bonds)

        def make(size: int) -> AdapterSpec:
            return AdapterSpec.over(structure, level_ranks(structure, size, weights))

        return self.limits.nearest(make, self.budget, self.budget) is not None

    def _allocator(self, name: str, values: Point) -> tuple[Named, Allocator]:
        """By name with a point's knobs, and what it is."""
        named = self._entry("allocator", name, values)
        return named, named.make(ALLOCATORS)

    def _entry(self, key: str, name: str, values: Point) -> Named:
        """An entry of a table with the knobs that a point gives it."""
        table = TABLES[key]
        set_to = {
            knob.name: self._number(knob, f"{name}.{knob.name}", values)
            for knob in knobs(table[name])
        }
        return Named.of(table, {"name": name, **set_to})

    def _number(self, knob: Knob, name: str, values: Point) -> Any:
        """What a point says of a knob; if it was drawn from a range, with two digits: what is
        closer than that is the same trial.
        """
        value = values[name]
        one = self.parameter(values[self.kind], name)
        if isinstance(one, Choice) or not isinstance(knob.among, Range):
            return value
        rounded = min(knob.among.high, max(knob.among.low, float(f"{value:.2g}")))
        return round(rounded) if isinstance(knob.default, int) else rounded
