"""Declared: what a space's TOML file says, checked; constants, lists and ranges as parameters."""

import tomllib
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, cast

from tenslora_search.spec.allocators import ALLOCATORS
from tenslora_search.spec.constructions import CONSTRUCTIONS
from tenslora_search.spec.decompositions import DECOMPOSITIONS
from tenslora_search.spec.knobs import Choice, Knob, knobs
from tenslora_search.spec.maps import MAPS
from tenslora_search.spec.methods import EVERY, METHODS, USUAL, Method, methods_named
from tenslora_search.spec.rules import RULES
from tenslora_search.spec.scales import SCALES
from tenslora_search.spec.sites import SITES
from tenslora_search.spec.table import QuestionError, Table, shortened, unknown
from tenslora_search.study.parameters import Parameter as Parameter
from tenslora_search.study.parameters import values_of
from tenslora_search.study.space_values import (
    NUMBERS,
    knob_parameter,
    listed,
    number_parameter,
    own_parameter,
)

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
TEXTS = ("about", "structure", "methods", "knobs")


@dataclass(frozen=True)
class Declared:
    """A space but for a model and a budget."""

    name: str
    structures: Mapping[str, Pair]
    """by their text, CONSTRUCTION x DECOMPOSITION; of a space over methods by the method"""
    parameters: Mapping[str, Parameter]
    """besides the structure; one with a single value is a constant"""
    knobs: Mapping[str, Knob]
    """those of the entries that the space names, by the parameter's name"""
    own: Mapping[str, Mapping[str, str]] = field(default_factory=dict[str, Mapping[str, str]])
    """by method, of a space over methods: the parameters that stand in for those of all"""
    leaves_out: bool = False
    """whether methods that a model cannot hold are left out: those that no user has named"""

    @property
    def sites(self) -> tuple[str, ...]:
        """Every entry of SITES that some structure or method may adapt."""
        names = {
            name: values_of(one)
            for name, one in self.parameters.items()
            if name == "sites" or name.endswith(".sites")
        }
        return tuple(dict.fromkeys(one for found in names.values() for one in found))


def declared(space: str | Path, methods: Sequence[str] | None = None) -> Declared:
    """By name (`list spaces`) or from a TOML file; what it leaves out is as in `default`.

    A list is a choice, a table with low and high a range. `methods` stand in for those of the file,
    or for its structures, rules, maps and allocators. `QuestionError` for what is wrong.
    """
    name, entries = read(space)
    said = _flat(entries)
    chosen = {**_flat(read("default")[1]), **said}
    what = f"space {name}"
    wanted = methods if methods is not None else chosen.get("methods")
    names = () if wanted is None else methods_named(wanted)
    asked = _rows(names)
    named = {
        key: _names(f"{what}: {key}", chosen[key], table)
        for key, table in TABLES.items()
        if key in chosen
    }
    structures = _structures(what, chosen, named)
    if asked:
        structures = {one: (row.construction, row.decomposition) for one, row in asked.items()}
        named |= {key: _of_rows(asked.values(), key) for key in USUAL}
    decompositions = list(dict.fromkeys(pair[1] for pair in structures.values()))
    found = _knobs({**named, "decomposition": decompositions})
    known = (*TEXTS, *TABLES, *NUMBERS, *found)
    for key in said:
        if key not in known and not _of_method(key):
            raise QuestionError(f"{what}: {_unknown_key(key, known)}")
    parameters: dict[str, Parameter] = {
        key: Choice(tuple(names[:1] if asked and key in USUAL else names))
        for key, names in named.items()
        if key not in ("construction", "decomposition")
    }
    usual = _are_usual(what, chosen)
    for key in (*NUMBERS, *found):
        parameters[key] = _parameter_of(what, key, chosen.get(key), found, usual=usual)
    is_lenient = methods is None or names == (EVERY,)
    plain = Declared(name, structures, parameters, found, leaves_out=is_lenient)
    return _with_own(plain, what, said, asked) if asked else plain


def _are_usual(what: str, chosen: Mapping[str, Any]) -> bool:
    """Whether knobs that the space does not name keep the values that their entries give them."""
    said = chosen.get("knobs", "searched")
    if said not in ("searched", "usual"):
        raise QuestionError(f"{what}: knobs are searched or usual; got {shortened(said)}.")
    return said == "usual"


def _rows(names: tuple[str, ...]) -> dict[str, Method]:
    """The rows of methods, by name."""
    return dict(METHODS) if names == (EVERY,) else {name: METHODS[name] for name in names}


def _of_rows(rows: Iterable[Method], key: str) -> list[str]:
    """The maps, rules or allocators that methods name, each once."""
    return list(dict.fromkeys(row.choices[key] for row in rows))


def _of_method(key: str) -> tuple[str, str] | None:
    """The method and the key of `LoRTA.learning_rate`."""
    name, dot, own = key.partition(".")
    return (name, own) if dot and name in METHODS else None


def _with_own(
    plain: Declared, what: str, said: Mapping[str, Any], asked: Mapping[str, Method]
) -> Declared:
    """With the parameters that each method has of its own: those of its row, then of its table."""
    parameters, knobs_of_all = dict(plain.parameters), dict(plain.knobs)
    own: dict[str, dict[str, str]] = {}
    for name, row in asked.items():
        tables = {key: [value] for key, value in row.choices.items()}
        given = {
            part[1]: said[key] for key in said if (part := _of_method(key)) and part[0] == name
        }
        found = _knobs({**tables, "decomposition": [row.decomposition]})
        known = ("scale", "sites", *NUMBERS, *found)
        for key, value in {**tables, **given}.items():
            if key not in (*known, *tables):
                raise QuestionError(f"{what}: {name}: {_unknown_key(key, known)}")
            parameters[f"{name}.{key}"] = _parameter_of(f"{what}: {name}", key, value, found)
            own.setdefault(name, {})[key] = f"{name}.{key}"
            if key in found:
                knobs_of_all[f"{name}.{key}"] = found[key]
    return replace(plain, parameters=parameters, knobs=knobs_of_all, own=own)


def _parameter_of(
    what: str, key: str, value: Any, found: Mapping[str, Knob], *, usual: bool = False
) -> Parameter:
    """What is said of a key; where nothing is (None), what the key is on its own."""
    if key in TABLES:
        return Choice(tuple(_names(f"{what}: {key}", value, TABLES[key])))
    if key in NUMBERS:
        return number_parameter(f"{what}: {key}", value, key, NUMBERS[key])
    knob = found[key]
    if value is not None:
        return knob_parameter(f"{what}: {key}", value, knob)
    return Choice((knob.default,)) if usual else own_parameter(f"{what}: {key}", knob)


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
        said = tomllib.loads(path.read_text(encoding="utf-8"))
        own = said.get("space")  # of a file that holds a whole search
        return path.stem, cast("dict[str, Any]", own) if isinstance(own, dict) else said
    except (OSError, ValueError) as error:
        raise QuestionError(
            f"space {path} cannot be read: {shortened(str(error).splitlines()[0])}."
        ) from error
    except RecursionError as error:
        raise QuestionError(f"space {path} cannot be read: it is nested too deep.") from error


def _flat(entries: Mapping[str, Any]) -> dict[str, Any]:
    """The knobs of an entry as keys of their own: TOML reads `gate.xi = 1` as a table gate. So do
    the settings of a method.
    """
    flat: dict[str, Any] = {}
    own_words = (*TEXTS, *TABLES, *NUMBERS)
    for key, value in entries.items():
        if isinstance(value, dict) and key in METHODS:
            own = _flat(cast("dict[str, Any]", value))
            flat |= {f"{key}.{name}": one for name, one in own.items()}
        elif isinstance(value, dict) and "." not in key and key not in own_words:
            own = cast("dict[str, Any]", value)
            flat |= {f"{key}.{name}": one for name, one in own.items()}
        else:
            flat[key] = value
    return flat


def _names(what: str, value: object, table: Mapping[str, object]) -> list[str]:
    """The entries that are named, each once."""
    names = _texts(what, value)
    for name in names:
        _ = table[name]
    return names


def _texts(what: str, value: object) -> list[str]:
    values = listed(value)
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
