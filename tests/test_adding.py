"""CONTRIBUTING's table: an entry added in one place is seen by `list`, by a space and by a search.

The tables here are those of spec. Every dummy is added as a plugin would add it, by `Table.add`,
and taken out again.
"""

from contextlib import contextmanager
from typing import Annotated

import pytest

from tenslora_search import search
from tenslora_search.listing import KINDS
from tenslora_search.spec.adapter import AdapterSpec
from tenslora_search.spec.allocators import ALLOCATORS, Allocator, level_ranks
from tenslora_search.spec.constructions import CONSTRUCTIONS
from tenslora_search.spec.decompositions import DECOMPOSITIONS
from tenslora_search.spec.form import Care, Factor, Form, Rule, bond
from tenslora_search.spec.geometry import Geometry
from tenslora_search.spec.knobs import Range
from tenslora_search.spec.maps import MAPS
from tenslora_search.spec.methods import METHODS, Method
from tenslora_search.spec.rules import RULES
from tenslora_search.spec.scales import SCALES
from tenslora_search.spec.sites import SITES
from tenslora_search.spec.table import QuestionError
from tenslora_search.study.space import SearchSpace


def with_a_gate(modes, *, spread: Annotated[float, Range(0.1, 10.0, log=True)] = 1.0):
    """CP with a number on each term, which starts at zero."""
    r = bond("r")
    sides = (Factor(mode.name, (mode, r), "uniform", (mode.name,)) for mode in modes)
    return Form((*sides, Factor("gate", (r,))))


def cautious(*, share: Annotated[float, Range(0.1, 1.0)] = 0.5) -> Rule:
    """Every factor at a share of the learning rate."""
    return Rule(care=lambda factor: Care(rate=share))


def stretched(update, *, by: Annotated[float, Range(0.5, 2.0)] = 1.5):
    """The update times a number."""
    return by * update


def frugal(*, share: Annotated[float, Range(0.25, 1.0)] = 0.5) -> Allocator:
    """As `level`, of a share of the size."""
    return Allocator(
        lambda structure, size, weights, measured: level_ranks(
            structure, round(size * share), weights
        )
    )


def halved(alpha: float, rank: int, first_step: float, output: int) -> float:
    """Half of alpha."""
    return alpha / 2


ADDED = {
    "construction": (CONSTRUCTIONS, "turned", "input output layer projection", ""),
    "decomposition": (DECOMPOSITIONS, "with_a_gate", with_a_gate, "with_a_gate.spread"),
    "rule": (RULES, "cautious", cautious, "cautious.share"),
    "map": (MAPS, "stretched", stretched, "stretched.by"),
    "allocator": (ALLOCATORS, "frugal", frugal, "frugal.share"),
    "scale": (SCALES, "halved", halved, ""),
    "sites": (SITES, "ko", "key out", ""),
}
"""A dummy for each table that a space may name entries of, and the knob that comes with it."""


@contextmanager
def added(table, name, entry):
    table.add(name, entry)
    try:
        yield
    finally:
        del table._entries[name], table.added[name]


def of_sites(sites: str) -> Geometry:
    return Geometry.attention(32, 4, 3, projections=SITES[sites].split())


def space_of(tmp_path, key: str, name: str):
    said = {"construction": "none", "decomposition": "cp", key: name}
    path = tmp_path / "mine.toml"
    path.write_text("\n".join(f'{one} = "{value}"' for one, value in said.items()) + "\n")
    return path


@pytest.mark.parametrize("key", ADDED)
def test_it_is_listed_and_a_space_holds_it_and_its_knobs(key, tmp_path):
    table, name, entry, knob = ADDED[key]
    with added(table, name, entry):
        line = KINDS[key if key == "sites" else f"{key}s"]()[name]
        assert line.startswith(entry if isinstance(entry, str) else entry.__doc__[:20])
        space = SearchSpace.load(space_of(tmp_path, key, name), of_sites, 5_000)
        if knob:
            assert knob in space.searched
            assert knob.partition(".")[2] in line
        trial = space.trial({"structure": next(iter(space.structures))}, 0)
        assert trial.adapter.n_params <= 5_000
        assert AdapterSpec.from_json(trial.adapter.to_json()) == trial.adapter
        columns = trial.columns()
        assert columns[key] == (entry if key == "sites" else name)
        assert not knob or knob in columns


@pytest.mark.parametrize("key", ADDED)
def test_it_takes_part_in_a_search(key, tmp_path):
    """Two trials of digits in this process: trained, within the budget, and said in the journal."""
    table, name, entry, _ = ADDED[key]
    with added(table, name, entry):
        run = search(
            "digits", budget="4k", trials=2, max_steps=8, retest=0, executor="inline",
            space=space_of(tmp_path, key, name), out=tmp_path / "run",
        )  # fmt: skip
        trials = run.trials()
        assert len(trials) == 2
        assert set(trials["state"]) <= {"complete", "paused"}
        assert run.proof == (2, 0)
        assert name in (run.folder / "trials.jsonl").read_text() or key == "sites"


def test_a_method_is_one_row(tmp_path):
    """It names trials, and is tried first where a space holds it."""
    geometry = of_sites("qv")
    adapter = AdapterSpec.of("qkv", "cp", (2,), geometry)
    assert adapter.method == "qkv x cp"
    row = Method("qkv", "cp", "a row of this test", sites="qv")
    with added(METHODS, "Twins", row):
        assert adapter.method == "Twins"
        assert AdapterSpec.of("qkv", "cp", (2,), of_sites("qkv")).method == "qkv x cp"
        assert KINDS["methods"]()["Twins"] == "qkv x cp, qv: a row of this test"
        path = tmp_path / "mine.toml"
        path.write_text('sites = ["qkv", "qv"]')
        space = SearchSpace.load(path, of_sites, 5_000)
        assert "Twins" in {space.trial(point, 0).method for point in space.seeds()}


def test_a_taken_name_or_a_nameless_entry_is_refused():
    for table, name, entry, message in (
        (RULES, "plain", cautious, "there is a rule named 'plain' already"),
        (RULES, "careful", cautious, "a rule has its function's name, cautious; got 'careful'"),
        (RULES, "<lambda>", lambda: Rule(), "rule <lambda> has no docstring"),
        (SITES, "", "query", "a sites needs a name"),
    ):
        with pytest.raises(QuestionError) as error:
            table.add(name, entry)
        assert message in str(error.value)
        assert name == "plain" or name not in table
