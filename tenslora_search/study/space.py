"""SearchSpace: what may be proposed, read from spaces/*.toml; every point of it fits the budget by
arithmetic.

A point is flat, so that any sampler can model it: a structure (construction x decomposition), a
size as a share of the budget, one weight an axis, a learning rate, and so on. Weights and size
become ranks by filling: all bonds rise to one level, each multiplied by its weight's factor and
capped, the highest level for which the exact count is within the size.
"""

import json
import math
import random
import sys
import tomllib
from collections.abc import Mapping
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path
from typing import Any, NamedTuple

from tenslora_search.spec.adapter import AdapterSpec
from tenslora_search.spec.allocators import ALLOCATORS
from tenslora_search.spec.budget import format_count
from tenslora_search.spec.constructions import CONSTRUCTIONS
from tenslora_search.spec.decompositions import DECOMPOSITIONS
from tenslora_search.spec.geometry import Geometry
from tenslora_search.spec.methods import METHODS
from tenslora_search.spec.rules import RULES
from tenslora_search.spec.scales import SCALES
from tenslora_search.spec.structure import Structure
from tenslora_search.spec.table import NothingFitsError, QuestionError, Table, unknown
from tenslora_search.spec.trial import TrialSpec

ROLES = ("input", "output", "head", "projection", "layer")
"""What a weight may be about; a bond without a mode of its own (r_1 of a train) takes the role of
its place in the chain.
"""

Point = Mapping[str, Any]


class Choice(NamedTuple):
    """A parameter that takes one of some values."""

    values: tuple[Any, ...]


class Range(NamedTuple):
    """A parameter between two numbers, on a logarithmic scale if `log`."""

    low: float
    high: float
    log: bool = False


class Row(NamedTuple):
    """One structure in numbers: its counts at rank 1 and at most within the budget, and about how
    many rank tuples fit.
    """

    construction: str
    decomposition: str
    smallest: int
    largest: int
    feasible: int
    is_estimate: bool


@dataclass(frozen=True)
class SearchSpace:
    """The points for one geometry and one budget (parameters of the adapter)."""

    name: str
    geometry: Geometry
    budget: int
    structures: tuple[tuple[str, str], ...]
    """those of which the smallest member fits"""
    parameters: Mapping[str, Choice | Range]
    """besides structure; a parameter with one value only is a constant"""

    @classmethod
    def load(cls, space: str | Path, geometry: Geometry, budget: int) -> "SearchSpace":
        """By name (`list spaces`) or from a TOML file; a list is a choice, a table with low and
        high a range.

        `QuestionError` for a wrong key or value, `NothingFitsError` if even the smallest
        configuration is over the budget.
        """
        name, entries = _read(space)
        for key in entries:
            if key not in KEYS:
                raise QuestionError(f"space {name}: {unknown('key', key, KEYS)}")
        chosen = {**_read("default")[1], **entries}
        wanted = _structures(name, chosen)
        smallest = {pair: _smallest(pair, geometry) for pair in wanted}
        fitting = tuple(pair for pair in wanted if smallest[pair] <= budget)
        if not fitting:
            raise NothingFitsError(_nothing_fits(smallest, budget))
        parameters: dict[str, Choice | Range] = {
            key: _parameter(f"space {name}: {key}", chosen[key], kind)
            for key, kind in KEYS.items()
            if kind is not None
        }
        parameters |= {role: Range(0.0, 1.0) for role in ROLES}
        return cls(name, geometry, budget, fitting, parameters)

    @cached_property
    def searched(self) -> dict[str, Choice | Range]:
        """What a sampler chooses: the structure and all parameters that are no constants."""
        structures = Choice(tuple(_joined(pair) for pair in self.structures))
        return {
            "structure": structures,
            **{
                name: one
                for name, one in self.parameters.items()
                if not (isinstance(one, Choice) and len(one.values) == 1)
            },
        }

    def trial(self, point: Point, seed: int) -> TrialSpec:
        """The trial that a point stands for; its adapter is canonical and within the budget.

        Parameters that the point leaves out take their constant, or the middle of their range.
        """
        values = {**{name: _middle(one) for name, one in self.parameters.items()}, **point}
        construction, decomposition = _split(values["structure"])
        structure = Structure.of(construction, decomposition, self.geometry)
        weights = [values[role] for role in bond_roles(structure)]
        size = min(self.budget, round(self.budget * values["size"]))
        ranks = ALLOCATORS["level"]().divide(structure, size, weights)
        adapter = AdapterSpec.over(structure, ranks, scale=values["scale"])
        return TrialSpec(
            adapter.canonical(),
            learning_rate=_rounded(values["learning_rate"]),
            head_learning_rate=_rounded(values["head_learning_rate"]),
            weight_decay=values["weight_decay"],
            clip=values["clip"],
            rule=values["rule"],
            seed=seed,
        )

    def seeds(self) -> list[dict[str, Any]]:
        """Points to try first: LoRA at the budget, the other known methods at the budget, LoRA at
        smaller sizes.
        """
        known = [(method.construction, method.decomposition) for method in METHODS.values()]
        smaller = [({"structure": "none x cp"}, share) for share in (1 / 4, 1 / 16)]
        points = [({"structure": _joined(pair)}, 1.0) for pair in known]
        low, high = _bounds(self.parameters["size"])
        fitting = {_joined(pair) for pair in self.structures}
        middle = {name: _middle(one) for name, one in self.searched.items()}
        return [
            {**middle, **point, "size": share}
            for point, share in (points[:1] + smaller[:1] + points[1:] + smaller[1:])
            if point["structure"] in fitting and low <= share <= high
        ]

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
            low, high = (math.log(one.low), math.log(one.high)) if one.log else (one.low, one.high)
            at = point.get(name, _middle(one))
            at = math.log(at) if one.log else at
            at = (
                generator.uniform(low, high)
                if reach > 1
                else at + (high - low) * generator.uniform(-reach, reach)
            )
            at = min(high, max(low, at))
            moved[name] = min(one.high, max(one.low, math.exp(at))) if one.log else at
        return moved

    def holds(self, point: Point) -> bool:
        """Whether a point, of an earlier search perhaps, is one that may be proposed here."""
        return point.keys() == self.searched.keys() and all(
            point[name] in one.values
            if isinstance(one, Choice)
            else one.low <= point[name] <= one.high
            for name, one in self.searched.items()
        )

    def key(self, trial: TrialSpec) -> str:
        """Equal for two trials that would train the same thing; the seed does not count."""
        return json.dumps(replace(trial, seed=0).to_json(), sort_keys=True)

    def table(self) -> list[Row]:
        """Each structure that fits in numbers."""
        return [self._row(*pair) for pair in self.structures]

    def _row(self, construction: str, decomposition: str) -> Row:
        """Rank tuples that fit: exact for one bond; else estimated by importance sampling from the
        log-uniform box.
        """
        what, structure = (
            (construction, decomposition),
            Structure.of(construction, decomposition, self.geometry),
        )
        n_bonds, smallest = len(structure.bonds), structure.smallest
        best = ALLOCATORS["level"]().divide(structure, self.budget, [0.5] * n_bonds)
        largest = structure.count(best)
        if n_bonds == 1:
            return Row(*what, smallest, largest, best[0], False)
        top = []
        for place, limit in enumerate(structure.limits):
            # The count is linear in each rank, so this is the most that fits beside ones; 0 where
            # ones are the cap.
            step = structure.count(tuple(1 + (place == k) for k in range(n_bonds))) - smallest
            top.append(min(limit, 1 + (self.budget - smallest) // step) if step else limit)
        generator, total = random.Random(0), 0.0
        for _ in range(SAMPLES):
            ranks = tuple(min(limit, int((limit + 1) ** generator.random())) for limit in top)
            if structure.count(ranks) <= self.budget and structure.clip(ranks) == ranks:
                total += math.prod(
                    math.log(limit + 1) / math.log1p(1 / rank)
                    for rank, limit in zip(ranks, top, strict=True)
                )
        return Row(*what, smallest, largest, max(1, round(total / SAMPLES)), True)


def bond_roles(structure: Structure) -> list[str]:
    """For each bond the role whose weight it takes."""
    roles = []
    for place, bond in enumerate(structure.bonds):
        mode = bond.removeprefix("r_").replace("head_dim", "output")
        roles.append(mode if mode in ROLES else ROLES[place % len(ROLES)])
    return roles


def space_files() -> dict[str, Path]:
    """The spaces that come with the tool, by name."""
    folders = [Path(__file__).parents[1] / "spaces", Path(__file__).parents[2] / "spaces"]
    folder = next((folder for folder in folders if folder.is_dir()), folders[0])
    return {
        file.stem: file
        for file in sorted(
            folder.glob("*.toml"), key=lambda file: (file.stem != "default", file.stem)
        )
    }


def about_spaces() -> Table[str]:
    """One line a space, for `list spaces`."""
    return Table("space", {name: _read(name)[1].get("about", "") for name in space_files()})


SAMPLES = 500
KEYS: dict[str, Mapping[str, object] | type | None] = {
    "about": None,
    "construction": None,
    "decomposition": None,
    "structure": None,
    "scale": SCALES,
    "rule": RULES,
    "size": float,
    "learning_rate": float,
    "head_learning_rate": float,
    "weight_decay": float,
    "clip": float,
}
"""What a space may say; a table's entry must be one of its names, a number is above 0 (weight_decay
may be 0).
"""


def _read(space: str | Path) -> tuple[str, dict[str, Any]]:
    files = space_files()
    path = files.get(str(space), Path(space).expanduser())
    if not path.is_file():
        if path.suffix == ".toml" or "/" in str(space):
            raise QuestionError(
                f"no space file {path}. Known spaces: {', '.join(files)}; or give a TOML file."
            )
        raise QuestionError(unknown("space", space, list(files)) + " Or give a TOML file.")
    try:
        return path.stem, tomllib.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise QuestionError(
            f"space {path} cannot be read: {str(error).splitlines()[0]}."
        ) from error


def _structures(name: str, chosen: Mapping[str, Any]) -> list[tuple[str, str]]:
    for key, table in (("construction", CONSTRUCTIONS), ("decomposition", DECOMPOSITIONS)):
        for entry in _names(f"space {name}: {key}", chosen[key]):
            _ = table[entry]
    if "structure" in chosen:
        pairs = [
            _split(structure)
            for structure in _names(f"space {name}: structure", chosen["structure"])
        ]
        for construction, decomposition in pairs:
            _ = CONSTRUCTIONS[construction], DECOMPOSITIONS[decomposition]
        return pairs
    return [
        (construction, decomposition)
        for construction in chosen["construction"]
        for decomposition in chosen["decomposition"]
    ]


def _parameter(what: str, value: Any, kind: Mapping[str, object] | type) -> Choice | Range:
    if isinstance(value, dict):
        extra = set(value) ^ {"low", "high"}
        if extra or kind is not float:
            raise QuestionError(
                f"{what}: a range is a table with low and high, and for numbers only; got "
                f"{value!r}."
            )
        low, high = _number(what, value["low"]), _number(what, value["high"])
        if not 0 < low < high:
            raise QuestionError(
                f"{what}: a range needs 0 < low < high; got low {low:g}, high {high:g}."
            )
        return Range(low, high, log=True)
    values = value if isinstance(value, list) else [value]
    if isinstance(kind, Mapping):
        for one in _names(what, values):
            _ = kind[one]
        return Choice(tuple(values))
    if not values:
        raise QuestionError(f"{what}: the list is empty; give one value or more.")
    return Choice(tuple(_number(what, one) for one in values))


def _names(what: str, value: object) -> list[str]:
    if not isinstance(value, list) or not value or not all(isinstance(one, str) for one in value):
        raise QuestionError(f"{what} is a list of names; got {value!r}.")
    return value


def _number(what: str, value: object) -> float:
    least = 0.0 if what.endswith(" weight_decay") else sys.float_info.min
    if (
        isinstance(value, bool)
        or not isinstance(value, int | float)
        or not least <= value <= sys.float_info.max
    ):
        raise QuestionError(f"{what}: numbers are above 0 (weight_decay may be 0); got {value!r}.")
    if what.endswith(" size") and value > 1:
        raise QuestionError(f"{what} is a share of the budget, at most 1; got {value:g}.")
    return float(value)


def _bounds(one: Choice | Range) -> tuple[float, float]:
    return (one.low, one.high) if isinstance(one, Range) else (min(one.values), max(one.values))


def _middle(one: Choice | Range) -> Any:
    if isinstance(one, Choice):
        return one.values[0]
    return math.sqrt(one.low * one.high) if one.log else (one.low + one.high) / 2


def _joined(pair: tuple[str, str]) -> str:
    return f"{pair[0]} x {pair[1]}"


def _split(structure: str) -> tuple[str, str]:
    construction, _, decomposition = structure.partition(" x ")
    return construction, decomposition


def _rounded(rate: float) -> float:
    """Two digits: learning rates closer than that are the same trial."""
    return float(f"{rate:.2g}")


def _smallest(pair: tuple[str, str], geometry: Geometry) -> int:
    return Structure.of(*pair, geometry).smallest


def _nothing_fits(smallest: Mapping[tuple[str, str], int], budget: int) -> str:
    least: dict[str, tuple[int, str]] = {}
    for (construction, decomposition), size in smallest.items():
        least[construction] = min(
            least.get(construction, (size, decomposition)), (size, decomposition)
        )
    parts = [f"{name} x {kind} {format_count(size)}" for name, (size, kind) in least.items()]
    return (
        f"nothing fits {format_count(budget)} parameters; the smallest of each construction: "
        f"{', '.join(parts)}."
    )
