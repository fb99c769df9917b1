"""SearchSpace: what may be proposed, read from spaces/*.toml; every point of it fits the budget by
arithmetic.

A point is flat, so that any sampler can model it: a structure (construction x decomposition), a
size as a share of the budget, one weight an axis, a learning rate, the knobs of every entry, and so
on. An allocator turns weights and size into ranks. Knobs of entries that the point did not choose
never reach the trial.
"""

import json
import random
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from functools import cached_property
from pathlib import Path
from typing import Any

from tenslora_search.spec.adapter import AdapterSpec
from tenslora_search.spec.allocators import ALLOCATORS, Allocator, Measured
from tenslora_search.spec.budget import format_count
from tenslora_search.spec.geometry import Geometry
from tenslora_search.spec.knobs import Choice, Knob, Named, Range, knobs
from tenslora_search.spec.methods import METHODS, USUAL, Method
from tenslora_search.spec.sites import DEFAULT_SITES, are_sites
from tenslora_search.spec.structure import Structure
from tenslora_search.spec.table import NothingFitsError, QuestionError
from tenslora_search.spec.trial import LEVEL, TrialSpec
from tenslora_search.study.feasible import Row, row_of
from tenslora_search.study.parameters import has, is_constant, middle, near, values_of
from tenslora_search.study.space_file import TABLES, Pair, Parameter, declared
from tenslora_search.study.space_file import about_spaces as about_spaces
from tenslora_search.study.space_file import space_files as space_files

ROLES = ("input", "output", "head", "projection", "layer")
"""What a weight may be about; a bond without a mode of its own (r_1 of a train) takes the role of
its place in the chain.
"""

Point = Mapping[str, Any]
Geometries = Geometry | Mapping[str, Geometry] | Callable[[str], Geometry]
"""Of the sites that a space names: of each by its name, or the one there is."""


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
    max_rank: int | None = None
    """of the pair of any map, since servers limit it: larger trials are made smaller"""

    @classmethod
    def load(
        cls,
        space: str | Path,
        geometries: Geometries,
        budget: int,
        measured: Mapping[str, Measured] | None = None,
        max_rank: int | None = None,
    ) -> "SearchSpace":
        """By name (`list spaces`) or from a TOML file; a list is a choice, a table with low and
        high a range.

        `geometries` has, or gives, the geometry of each entry of SITES that the space names; one
        geometry alone is that of its only sites. `QuestionError` for a wrong key or value,
        `NothingFitsError` if even the smallest configuration is over the budget.
        """
        said = declared(space)
        of_sites = _geometries(said.name, values_of(said.parameters["sites"]), geometries)
        parameters = {**said.parameters, **{role: Range(0.0, 1.0) for role in ROLES}}
        every = cls(
            said.name, of_sites, budget, said.structures, parameters, said.knobs, measured or {},
            max_rank,
        )  # fmt: skip
        smallest = {
            text: min(every.structure(pair, sites, {}).smallest for sites in of_sites)
            for text, pair in said.structures.items()
        }
        fitting = {text: pair for text, pair in said.structures.items() if smallest[text] <= budget}
        if not fitting:
            raise NothingFitsError(_nothing_fits(said.structures, smallest, budget))
        divided = {text: pair for text, pair in fitting.items() if every._combinations(pair)}
        if not divided:
            names = ", ".join(values_of(said.parameters["allocator"]))
            raise QuestionError(
                f"space {said.name}: no structure of it can be divided by allocator {names}; add "
                "allocator level, or a construction that leaves the axis to its copies."
            )
        return replace(every, structures=divided)

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
        found = [self._allocator(name, self._usual)[1].needs for name in names]
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
        values = {**self._usual, **point}
        pair = self.structures[values["structure"]]
        possible = self._combinations(pair)
        asked = values["sites"], values["allocator"]
        alike = [one for one in possible if one[0] == asked[0]]
        sites, name = asked if asked in possible else [*alike, *possible][0]
        structure = self.structure(pair, sites, values)
        allocator, entry = self._allocator(name, values)
        weights = [values[role] for role in bond_roles(structure)]
        size = min(self.budget, round(self.budget * values["size"]))
        measured = self.measured.get(entry.needs, Measured())

        def of_size(size: int) -> AdapterSpec:
            ranks = entry.divide(structure, size, weights, measured)
            return AdapterSpec.over(structure, ranks, scale=values["scale"]).canonical()

        adapter = self._within_rank(of_size, size, structure.smallest)
        if entry.over and not adapter.is_per_copy:
            allocator = LEVEL  # it told no copies apart
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

    def _within_rank(
        self, of_size: Callable[[int], AdapterSpec], size: int, least: int
    ) -> AdapterSpec:
        """The adapter of a size, or of the largest at which its pairs have ranks that may be."""
        adapter, most = of_size(size), self.max_rank
        if most is None or adapter.slice_rank <= most:
            return adapter
        low, high = least, size
        while high - low > 1 + low // 100:
            middle_ = (low + high) // 2
            low, high = (middle_, high) if of_size(middle_).slice_rank <= most else (low, middle_)
        return of_size(low)

    def structure(self, pair: Pair, sites: str, values: Point) -> Structure:
        """With the knobs of a point; the usual ones where these make even ranks of 1 too large."""
        construction, decomposition = pair
        values = {**self._usual, **values}
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
        """Points to try first: LoRA at the largest size, the other known methods that the space
        holds at that size, LoRA at smaller sizes.
        """
        size = self.parameters["size"]
        most = size.high if isinstance(size, Range) else max(size.values)
        smaller = [share for share in (1 / 4, 1 / 16) if share < most and has(size, share)]
        known = [point for method in METHODS.values() if (point := self._point_of(method))]
        points = [{**point, "size": most} for point in known]
        lora = self._point_of(METHODS["LoRA"])
        if lora:
            least = [{**lora, "size": share} for share in smaller]
            points = points[:1] + least[:1] + points[1:] + least[1:]
        return [{name: point[name] for name in self.searched} for point in points]

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
        """Whether a point, of an earlier search perhaps, is one that may be proposed here."""
        return point.keys() == self.searched.keys() and all(
            has(one, point[name]) for name, one in self.searched.items()
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
    def _usual(self) -> dict[str, Any]:
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
        """The sites and allocators of the space that a structure can have within the budget."""
        found: list[tuple[str, str]] = []
        for sites in self.geometries:
            structure = self.structure(pair, sites, {})
            if structure.smallest > self.budget:
                continue
            for name in values_of(self.parameters["allocator"]):
                if self._allocator(name, self._usual)[1].can_divide(structure):
                    found.append((sites, name))
        return found

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

    def _point_of(self, method: Method) -> dict[str, Any] | None:
        """The point of a known method, its other parameters as usual; None if it is not held."""
        pairs = [
            text
            for text, pair in self.structures.items()
            if pair == (method.construction, method.decomposition)
        ]
        point = {**self._usual, "structure": pairs[0] if pairs else None}
        for name, wanted in method.choices.items():
            choice = values_of(self.parameters[name])
            if wanted in choice:
                point[name] = wanted
            elif wanted != USUAL.get(name):
                return None
        return point if pairs else None


def bond_roles(structure: Structure) -> list[str]:
    """For each bond the role whose weight it takes."""
    roles: list[str] = []
    for place, bond in enumerate(structure.bonds):
        mode = bond.removeprefix("r_").replace("head_dim", "output")
        roles.append(mode if mode in ROLES else ROLES[place % len(ROLES)])
    return roles


def _geometries(space: str, names: tuple[str, ...], given: Geometries) -> dict[str, Geometry]:
    if callable(given):
        return {name: given(name) for name in names}
    if isinstance(given, Mapping):
        missing = [name for name in names if name not in given]
        if missing:
            raise QuestionError(
                f"space {space} adapts {missing[0]}; there is a geometry of "
                f"{', '.join(given) or 'nothing'}."
            )
        return {name: given[name] for name in names}
    is_that = len(names) == 1 and are_sites(given.projections, names[0])
    if not is_that and names != (DEFAULT_SITES,):
        raise QuestionError(
            f"space {space} adapts {', '.join(names)}; with one geometry of your own, leave sites "
            "out."
        )
    return {names[0]: given}


def _nothing_fits(structures: Mapping[str, Pair], smallest: Mapping[str, int], budget: int) -> str:
    least: dict[str, tuple[int, str]] = {}
    for text, (construction, _) in structures.items():
        found = smallest[text], text
        least[construction] = min(least.get(construction, found), found)
    parts = [f"{text} {format_count(size)}" for size, text in least.values()]
    return (
        f"nothing fits {format_count(budget)} parameters; the smallest of each construction: "
        f"{', '.join(parts)}."
    )
