"""Declared: what a space's TOML file says, checked; constants, lists and ranges as parameters."""

import tomllib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, cast

from tenslora_search.spec.allocators import ALLOCATORS
from tenslora_search.spec.constructions import CONSTRUCTIONS
from tenslora_search.spec.decompositions import DECOMPOSITIONS
from tenslora_search.spec.knobs import Choice, Knob, Range, check_whole, knobs
from tenslora_search.spec.maps import MAPS
from tenslora_search.spec.rules import RULES
from tenslora_search.spec.scales import SCALES
from tenslora_search.spec.sites import SITES
from tenslora_search.spec.table import QuestionError, Table, shortened, unknown
from tenslora_search.spec.trial import TrialSpec
from tenslora_search.study.parameters import Parameter as Parameter
from tenslora_search.study.prior import Prior, prior_of

Pair = tuple[str, str]
"""A construction and a decomposition."""

TABLES: Mapping[str, Table[Any]] = {
    "construction": CONSTRUCTIONS,
    "decomposition": DECOMPOSITIONS,
    "scale": SCALES,
    "rule": RULES,
    "map": MAPS,
    "allocator": ALLOCATORS,
    "sites": SITES,
}
"""What a space may name entries of; the knobs of those it names are parameters too."""
WHOLE = Range(1e-9, 1.0, log=True)
"""What a size may be: any share of the budget."""
NUMBERS: Mapping[str, Range] = {
    "size": WHOLE,
    **{one.name: one.among for one in knobs(TrialSpec) if isinstance(one.among, Range)},
}
"""What numbers a space may say, and what they may be: the size as a share of the budget, and the
numbers of a trial.
"""
TEXTS = ("about", "structure", "prior")
LEAST_LOW = 1e-12
"""A range on a logarithmic scale begins no lower."""
LEAST_RATIO = 1 + 1e-6
"""The ends of a range are at least this far apart, so that samplers can tell them apart."""


@dataclass(frozen=True)
class Declared:
    """A space but for a model and a budget."""

    name: str
    structures: Mapping[str, Pair]
    """by their text, CONSTRUCTION x DECOMPOSITION"""
    parameters: Mapping[str, Parameter]
    """besides the structure; one with a single value is a constant; the size where it is said"""
    knobs: Mapping[str, Knob]
    """those of the entries that the space names, by the parameter's name"""
    prior: Prior
    """what the space's `[prior]` believes"""


def declared(space: str | Path) -> Declared:
    """By name (`list spaces`) or from a TOML file; what it leaves out is as in `default`.

    A list is a choice, a table with low and high a range. `QuestionError` for what is wrong.
    """
    name, entries = read(space)
    said = _flat(entries)
    chosen = {**_flat(read("default")[1]), **said}
    what = f"space {name}"
    named = {
        key: _names(f"{what}: {key}", chosen[key], table)
        for key, table in TABLES.items()
        if key in chosen
    }
    structures = _structures(what, chosen, named)
    decompositions = list(dict.fromkeys(pair[1] for pair in structures.values()))
    found = _knobs({**named, "decomposition": decompositions})
    known = (*TEXTS, *TABLES, *NUMBERS, *found)
    for key in said:
        if key not in known:
            raise QuestionError(f"{what}: {_unknown_key(key, known)}")
    parameters: dict[str, Parameter] = {
        key: Choice(tuple(named[key]))
        for key in TABLES
        if key not in ("construction", "decomposition")
    }
    for key, limits in NUMBERS.items():
        if key == "size" and key not in chosen:
            continue  # from the smallest structure on, which the model decides
        parameters[key] = _number_parameter(f"{what}: {key}", chosen.get(key), key, limits)
    for key, knob in found.items():
        parameters[key] = (
            _knob_parameter(f"{what}: {key}", chosen[key], knob)
            if key in chosen
            else _own_parameter(f"{what}: {key}", knob)
        )
    among = {"structure": Choice(tuple(structures)), "size": WHOLE, **parameters}
    prior = prior_of(f"{what}: prior", _flat_prior(chosen.get("prior", {})), among)
    return Declared(name, structures, parameters, found, prior)


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
    return Table("space", {name: read(name)[1].get("about", "") for name in space_files()})


def read(space: str | Path) -> tuple[str, dict[str, Any]]:
    """A space's name and what its file says."""
    files = space_files()
    path = files.get(str(space), Path(space))
    try:
        path = path.expanduser()
        is_there = path.is_file()
    except (OSError, RuntimeError):
        is_there = False
    if not is_there:
        if path.suffix == ".toml" or "/" in str(space):
            raise QuestionError(
                f"no space file {shortened(path)}. Known spaces: {', '.join(files)}; or give a "
                "TOML file."
            )
        raise QuestionError(unknown("space", space, list(files)) + " Or give a TOML file.")
    try:
        return path.stem, tomllib.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise QuestionError(
            f"space {path} cannot be read: {shortened(str(error).splitlines()[0])}."
        ) from error
    except RecursionError as error:
        raise QuestionError(f"space {path} cannot be read: it is nested too deep.") from error


def _flat(entries: Mapping[str, Any]) -> dict[str, Any]:
    """The knobs of an entry as keys of their own: TOML reads `gate.xi = 1` as a table gate."""
    flat: dict[str, Any] = {}
    for key, value in entries.items():
        if isinstance(value, dict) and key not in (*TEXTS, *TABLES, *NUMBERS) and "." not in key:
            own = cast("dict[str, Any]", value)
            flat |= {f"{key}.{name}": one for name, one in own.items()}
        else:
            flat[key] = value
    return flat


def _flat_prior(said: object) -> object:
    return _flat(cast("dict[str, Any]", said)) if isinstance(said, dict) else said


def _names(what: str, value: object, table: Mapping[str, object]) -> list[str]:
    """The entries that are named, each once."""
    names = _texts(what, value)
    for name in names:
        _ = table[name]
    return names


def _texts(what: str, value: object) -> list[str]:
    values = _listed(value)
    texts = [one for one in values if isinstance(one, str)]
    if len(texts) < len(values) or not values:
        raise QuestionError(f"{what} is a name or a list of names; got {shortened(value)}.")
    return list(dict.fromkeys(texts))


def _structures(
    what: str, chosen: Mapping[str, Any], named: Mapping[str, Sequence[str]]
) -> dict[str, Pair]:
    every = {f"{one} x {other}": (one, other) for one in CONSTRUCTIONS for other in DECOMPOSITIONS}
    if "structure" not in chosen:
        pairs = [(one, other) for one in named["construction"] for other in named["decomposition"]]
        return {text: pair for text, pair in every.items() if pair in pairs}
    found: dict[str, Pair] = {}
    for text in _texts(f"{what}: structure", chosen["structure"]):
        if text not in every:
            line = unknown("structure", text, list(every)).partition(" Known:")[0]
            raise QuestionError(f"{what}: {line} A structure is CONSTRUCTION x DECOMPOSITION.")
        found[text] = every[text]
    return found


def _knobs(named: Mapping[str, Sequence[str]]) -> dict[str, Knob]:
    """Of all entries that are named: `gate.xi` by the entry's name and its own."""
    found: dict[str, Knob] = {}
    for key, names in named.items():
        for name in names:
            entry = TABLES[key][name]
            for knob in knobs(entry) if callable(entry) else ():
                if f"{name}.{knob.name}" in found:
                    raise QuestionError(f"two entries are named {name} and have a {knob.name}.")
                found[f"{name}.{knob.name}"] = knob
    return found


def _unknown_key(key: str, known: Sequence[str]) -> str:
    entry, _, name = key.partition(".")
    for kind, table in TABLES.items():
        if name and entry in table and callable(table[entry]):
            own = [one.name for one in knobs(table[entry])]
            if name in own:
                return f"{key} is a knob of {kind} {entry}, which this space does not name."
            return f"{kind} {entry}: {unknown('knob', name, own)}"
    return unknown("key", key, list(known))


def _number_parameter(what: str, value: Any, key: str, limits: Range) -> Parameter:
    if value is None:
        default = next(one.default for one in knobs(TrialSpec) if one.name == key)
        return Choice((default,))
    return _parameter(what, value, limits, float)


def _knob_parameter(what: str, value: Any, knob: Knob) -> Parameter:
    if isinstance(knob.among, Range):
        if not isinstance(value, dict):
            for one in _listed(value):
                check_whole(what, knob, one)
        return _parameter(what, value, knob.among, type(knob.default))
    values = _listed(value)
    for one in values:
        if one not in knob.among.values or isinstance(one, list | dict):
            known = ", ".join(map(str, knob.among.values))
            raise QuestionError(f"{what} is one of {known}; got {shortened(cast('object', one))}.")
    if not values:
        raise QuestionError(f"{what}: the list is empty; give one value or more.")
    return Choice(tuple(dict.fromkeys(values)))


def _own_parameter(what: str, knob: Knob) -> Parameter:
    """What the entry itself says of its knob; a range is checked as a space's own are."""
    among = knob.among
    if isinstance(among, Range):
        ends = {"low": among.low, "high": among.high}
        _ = _parameter(what, ends, among, float)
    return among


def _parameter(what: str, value: Any, limits: Range, kind: type) -> Parameter:
    """A range within the limits, or the values of a list, or a constant."""
    if isinstance(value, dict):
        ends = cast("dict[str, Any]", value)
        if set(ends) != {"low", "high"}:
            raise QuestionError(
                f"{what}: a range is a table with low and high; got {shortened(ends)}."
            )
        low, high = (_number(what, ends[end], limits) for end in ("low", "high"))
        least = LEAST_LOW if limits.log else limits.low
        if low < least or low >= high or high < low * LEAST_RATIO:
            needs = f"{least:g} <= low < high"
            raise QuestionError(f"{what}: a range needs {needs}; got low {low:g}, high {high:g}.")
        return Range(low, high, limits.log)
    values = _listed(value)
    if not values:
        raise QuestionError(f"{what}: the list is empty; give one value or more.")
    return Choice(tuple(dict.fromkeys(kind(_number(what, one, limits)) for one in values)))


def _listed(value: Any) -> list[Any]:
    """The values of a list, or the one there is."""
    return cast("list[Any]", value) if isinstance(value, list) else [value]


def _number(what: str, value: Any, limits: Range) -> float:
    """As a float; `nan` is between no numbers."""
    is_number = isinstance(value, int | float) and not isinstance(value, bool)
    if not is_number or not limits.low <= value <= limits.high:
        raise QuestionError(
            f"{what} is a number from {limits.low:g} to {limits.high:g}; got {shortened(value)}."
        )
    return float(value)
