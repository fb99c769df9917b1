"""SearchSpace: what may be proposed, read from spaces/*.toml; every point of it fits the budget by
arithmetic.

A point is flat, so that any sampler can model it: a structure (construction x decomposition), a
size as a share of the budget, one weight an axis, a learning rate, the knobs of every entry, and so
on. An allocator turns weights and size into ranks. Knobs of entries that the point did not choose
never reach the trial.
"""

import json
import math
import random
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from functools import cached_property
from pathlib import Path
from typing import Any

from tenslora_search.spec.adapter import AdapterSpec
from tenslora_search.spec.allocators import ALLOCATORS, Allocator, Measured, level_ranks
from tenslora_search.spec.geometry import Geometry
from tenslora_search.spec.knobs import Choice, Knob, Named, Range, knobs
from tenslora_search.spec.structure import Structure
from tenslora_search.spec.table import NothingFitsError
from tenslora_search.spec.trial import LEVEL, TrialSpec
from tenslora_search.study.feasible import Row, row_of
from tenslora_search.study.known import known_points
from tenslora_search.study.limits import ANY, Limits
from tenslora_search.study.opening import Geometries, narrowed, nothing_fits, nothing_held, of_sites
from tenslora_search.study.parameters import has, is_constant, middle, near, values_of
from tenslora_search.study.prior import Prior
from tenslora_search.study.space_file import TABLES, WHOLE, Pair, Parameter, declared
from tenslora_search.study.space_file import about_spaces as about_spaces
from tenslora_search.study.space_file import space_files as space_files

ROLES = ("input", "output", "head", "projection", "layer")
"""What a weight may be about; a bond without a mode of its own (r_1 of a train) takes the role of
its place in the chain.
"""

Point = Mapping[str, Any]
SLACK = 1.5
"""A size that a structure cannot fill is told from one that it fills but for its coarse steps: its
largest member is so much smaller.
"""


@dataclass(frozen=True)
class SearchSpace:
    """The points for one model and one budget (parameters of the adapter)."""

    name: str
    geometries: Mapping[str, Geometry]
    """by the name of the sites, in the space's order"""
    budget: int
    structures: Mapping[str, Pair]
    """by their text: those of which the smallest member fits on some sites"""
    parameters: Mapping[str, Parameter]
    """besides structure; a parameter with one value only is a constant"""
    knobs: Mapping[str, Knob]
    """of the entries that the space names, by the parameter's name"""
    measured: Mapping[str, Measured] = field(default_factory=dict[str, Measured])
    """by probe, for the allocators that need one; `trial` does, counts and tables do not"""
    limits: Limits = ANY
    prior: Prior = field(default_factory=Prior)

    @classmethod
    def load(
        cls,
        space: str | Path,
        geometries: Geometries,
        budget: int,
        measured: Mapping[str, Measured] | None = None,
        *,
        min_budget: int | None = None,
        max_rank: int | None = None,
    ) -> "SearchSpace":
        """By name (`list spaces`) or from a TOML file; a list is a choice, a table with low and
        high a range.

        `geometries` has, or gives, the geometry of each entry of SITES that the space names; one
        geometry alone is that of its only sites. No trial has fewer than `min_budget` parameters,
        or an update of a larger rank than `max_rank`. Where the space says no size, it is one from
        the smallest structure up to the budget. `QuestionError` for a wrong key or value,
        `NothingFitsError` if no configuration is within the budget and these limits.
        """
        said = declared(space)
        geometry_of = of_sites(said.name, values_of(said.parameters["sites"]), geometries)
        parameters = {"size": WHOLE, **said.parameters}
        parameters |= {role: Range(0.0, 1.0) for role in ROLES}
        limits = Limits(min_budget or 1, max_rank)
        parameters = narrowed(said.name, parameters, limits)
        every = cls(
            said.name, geometry_of, budget, said.structures, parameters, said.knobs,
            measured or {}, limits, said.prior,
        )  # fmt: skip
        smallest = {
            text: min(every.structure(pair, sites, {}).smallest for sites in geometry_of)
            for text, pair in said.structures.items()
        }
        fitting = {text: pair for text, pair in said.structures.items() if smallest[text] <= budget}
        if not fitting:
            raise NothingFitsError(nothing_fits(said.structures, smallest, budget))
        held = {text: pair for text, pair in fitting.items() if every._combinations(pair)}
        if not held:
            raise nothing_held(said.name, values_of(said.parameters["allocator"]), budget, limits)
        if "size" not in said.parameters:
            least = max(min(smallest[text] for text in held), limits.min_params)
            sizes = Range(least / budget, 1.0, log=True) if least < budget else Choice((1.0,))
            every = replace(every, parameters={**every.parameters, "size": sizes})
        return replace(every, structures=held)

    @property
    def geometry(self) -> Geometry:
        """Of the first sites."""
        return next(iter(self.geometries.values()))

    @cached_property
    def needs(self) -> tuple[str, ...]:
        """The probes that its allocators take numbers from, each once."""
        names = {
            name: None for pair in self.structures.values() for _, name in self._combinations(pair)
        }
        found = [self._allocator(name, self.usual)[1].needs for name in names]
        return tuple(dict.fromkeys(need for need in found if need))

    @cached_property
    def searched(self) -> dict[str, Parameter]:
        """What a sampler chooses: the structure and all parameters that are no constants."""
        varying = {name: one for name, one in self.parameters.items() if not is_constant(one)}
        return {"structure": Choice(tuple(self.structures)), **varying}

    def trial(self, point: Point, seed: int) -> TrialSpec:
        """The trial that a point stands for; its adapter is canonical and within the budget.

        Parameters that the point leaves out take their constant, or the middle of their range. A
        structure that its allocator cannot divide takes the first of the space's that can, on the
        point's sites if it fits there.
        """
        values = {**self.usual, **point}
        plain = dict.fromkeys(ROLES, 0.5) | {"allocator": LEVEL.name}
        ways = values, {**values, **plain}, {**values, **plain, **self._usual_knobs}
        found = next(filter(None, map(self._divided, ways)), None)
        assert found is not None, f"nothing of {values['structure']} keeps to {self.limits}"
        allocator, adapter = found
        assert adapter.n_params <= self.budget, f"{adapter} is over {self.budget}"
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

    def _divided(self, values: Point) -> tuple[Named, AdapterSpec] | None:
        """The allocator and the canonical adapter of a point; None if it breaks a limit."""
        pair = self.structures[values["structure"]]
        possible = self._combinations(pair)
        asked = values["sites"], values["allocator"]
        alike = [one for one in possible if one[0] == asked[0]]
        sites, name = asked if asked in possible else [*alike, *possible][0]
        structure = self.structure(pair, sites, values)
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

    def structure(self, pair: Pair, sites: str, values: Point) -> Structure:
        """With the knobs of a point; the usual ones where these make even ranks of 1 too large."""
        construction, decomposition = pair
        values = {**self.usual, **values}
        found = [
            Structure.of(
                construction,
                decomposition,
                self.geometries[sites],
                options=self._entry("decomposition", decomposition, one).options,
                after=self._entry("map", one["map"], one),
            )
            for one in (values, {**values, **self._usual_knobs})
        ]
        return found[0] if found[0].smallest <= self.budget else found[1]

    def seeds(self) -> list[dict[str, Any]]:
        """Points to try first: known methods at several sizes, LoRA at the largest first."""
        return known_points(self)

    def least(self, point: Point) -> float:
        """The share of the budget that the smallest member of a point's structure has."""
        values = {**self.usual, **point}
        structure = self.structure(self.structures[values["structure"]], values["sites"], values)
        return structure.smallest / self.budget

    def reach(self, point: Point) -> tuple[float, float]:
        """The smallest and the largest size that a point's structure can have with its weights."""
        size = self.parameters["size"]
        assert isinstance(size, Range)
        low, high = (
            self.trial({**point, "size": end}, 0).adapter.n_params / self.budget
            for end in (size.low, size.high)
        )
        return min(size.high, max(size.low, low)), min(size.high, max(size.low, high))

    def settled(self, point: Point, generator: random.Random) -> dict[str, Any]:
        """The point; where its structure cannot have its size, with another one, drawn anew,
        log-uniform, from those that it can have.
        """
        size = self.parameters["size"]
        if not isinstance(size, Range):
            return dict(point)
        low, high = self.reach(point)
        if low >= high or low * (1 - 1e-9) <= point["size"] <= high * SLACK:
            return dict(point)
        drawn = math.exp(generator.uniform(math.log(low), math.log(high)))
        return {**point, "size": min(size.high, max(size.low, drawn))}

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
        """Each structure that fits in numbers, on each of the sites on which it does."""
        return [
            row_of(self.structure(pair, sites, {}), self.budget, sites)
            for pair in self.structures.values()
            for sites in dict.fromkeys(sites for sites, _ in self._combinations(pair))
        ]

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

    def _combinations(self, pair: Pair) -> list[tuple[str, str]]:
        """The sites and allocators of the space that a structure can have within budget and
        limits.
        """
        if pair not in self._possible:
            self._possible[pair] = self._found_combinations(pair)
        return self._possible[pair]

    @cached_property
    def _possible(self) -> dict[Pair, list[tuple[str, str]]]:
        return {}

    def _found_combinations(self, pair: Pair) -> list[tuple[str, str]]:
        found: list[tuple[str, str]] = []
        for sites in self.geometries:
            structure = self.structure(pair, sites, {})
            if structure.smallest > self.budget or not self._can_keep(structure):
                continue
            for name in values_of(self.parameters["allocator"]):
                if self._allocator(name, self.usual)[1].can_divide(structure):
                    found.append((sites, name))
        return found

    def _can_keep(self, structure: Structure) -> bool:
        """Whether something of a structure keeps to the limits."""
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
        if isinstance(self.parameters[name], Choice) or not isinstance(knob.among, Range):
            return value
        rounded = min(knob.among.high, max(knob.among.low, float(f"{value:.2g}")))
        return round(rounded) if isinstance(knob.default, int) else rounded


def bond_roles(structure: Structure) -> list[str]:
    """For each bond the role whose weight it takes."""
    roles: list[str] = []
    for place, bond in enumerate(structure.bonds):
        mode = bond.removeprefix("r_").replace("head_dim", "output")
        roles.append(mode if mode in ROLES else ROLES[place % len(ROLES)])
    return roles
