"""CONTRIBUTING's table: an entry added in one place is seen by `list`, by a space and by a search.

Every dummy is added as a plugin would add it, by `Table.add`, and taken out again.
"""

import random
import re
from contextlib import ExitStack, contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Annotated

import pandas as pd
import pytest

from tenslora_search import search
from tenslora_search.data.digits import digits_frame
from tenslora_search.data.goals import Classes
from tenslora_search.data.metrics import Metric, accuracy
from tenslora_search.data.task import load_task
from tenslora_search.engine.executors import EXECUTORS
from tenslora_search.export.formats import FORMATS
from tenslora_search.listing import KINDS, PLURALS
from tenslora_search.report.compare import compare
from tenslora_search.report.markup import tag
from tenslora_search.runs.segment import Probe, Setting
from tenslora_search.spec.adapter import AdapterSpec
from tenslora_search.spec.allocators import ALLOCATORS, Allocator, level_ranks
from tenslora_search.spec.backbones import BACKBONES, OWN_MODEL, geometry_of_model
from tenslora_search.spec.constructions import CONSTRUCTIONS
from tenslora_search.spec.decompositions import DECOMPOSITIONS
from tenslora_search.spec.families import FAMILIES, family_of
from tenslora_search.spec.form import Care, Factor, Form, Rule, bond
from tenslora_search.spec.fused import LAYOUTS
from tenslora_search.spec.geometry import Geometry
from tenslora_search.spec.knobs import Range
from tenslora_search.spec.maps import MAPS
from tenslora_search.spec.methods import METHODS, Method
from tenslora_search.spec.metrics import of_share
from tenslora_search.spec.plugins import HOMES, table_of
from tenslora_search.spec.rules import RULES
from tenslora_search.spec.scales import SCALES
from tenslora_search.spec.sites import SITES
from tenslora_search.spec.table import QuestionError
from tenslora_search.spec.tasks import Task
from tenslora_search.spec.wordings import Wording
from tenslora_search.study.space import SearchSpace
from tenslora_search.training.trainers import trainer


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
        table.remove(name)


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
        line = KINDS[LISTS[key]]()[name]
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


def at_random(space, seed, objective):
    """Points drawn without looking."""
    generator = random.Random(seed)
    return lambda seen, count: [space.nudged({}, generator, 2.0) for _ in range(count)]


def all_of_them(eta, n_rungs):
    """Every trial climbs on."""
    return lambda standings, rung: {one.number for one in standings if len(one.scores) == rung + 1}


def in_turn(place):
    """As `inline`."""
    return EXECUTORS["inline"](place)


def hits(answers, labels):
    """As accuracy."""
    return accuracy(answers, labels)


class SameClasses(Classes):
    """Classes by another name."""

    name = "same_classes"
    metrics = ("hits", "accuracy")

    @classmethod
    def suits(cls, cells):
        return False


def same_length(written, wanted):
    """1 where both are as long."""
    return float(len(written) == len(wanted))


def few_digits():
    """The digits again."""
    return digits_frame()


def footnote(record):
    """A page with one line."""
    return tag("p", f"a footnote to {len(record.rows)} trials")


def alike(runs):
    """A comparison with one line."""
    return tag("p", f"{len(runs)} runs")


def the_first(rows, typical):
    """The first of the front."""
    return rows[0].number


def nowhere(run):
    """Sends a run nowhere."""
    return f"nowhere: {run.folder.name}"


def constant(probe, load):
    """Always the same answer."""
    return (3.0,)


def read_psv(path):
    """A file with bars between its columns."""
    return pd.read_csv(path, sep="|"), {}


def reversed_blocks(projection, heads, kv_heads, head_dim):
    """Values first."""
    return LAYOUTS["blocks"](projection, heads, kv_heads, head_dim)


TASK = Task(
    "few_digits", "the digits of a test", "image", ("image",), metric="hits", report_split="test",
    own_model=OWN_MODEL, max_steps=8, batch_size=8, n_outputs=5, goal="same_classes",
)  # fmt: skip
FORMAT = replace(FORMATS["native"], library="a-library")
OTHERS = {
    "metric": ("hits", Metric(hits, of_share, "accuracy")),
    "goal": ("same_classes", SameClasses),
    "task": ("few_digits", TASK),
    "local task": ("few_digits", few_digits),
    "sampler": ("at_random", at_random),
    "pruner": ("all_of_them", all_of_them),
    "executor": ("in_turn", in_turn),
    "trainer": ("again", "tenslora_search.training.segment"),
    "probe": ("constant", constant),
    "page": ("footnote", footnote),
    "comparison": ("alike", alike),
    "pick": ("the_first", the_first),
    "tracker": ("nowhere", nowhere),
    "format": ("factors", FORMAT),
    "family": ("mine", replace(FAMILIES["bert"], model_types=("mine",))),
    "model": ("my-vit", replace(BACKBONES[OWN_MODEL])),
    "layout": ("reversed_blocks", reversed_blocks),
    "kind of data file": ("psv", read_psv),
    "measure of answers": ("same_length", same_length),
    "wording": ("headline", Wording(("body", "head"), prompt="{body}", completion="{head}")),
    "method": ("Twins", Method("qkv", "cp", "a row of this test", sites="qv")),
}
"""A dummy for each of the tables that no space names entries of."""
LISTS = {**{kind: plural for plural, kind in PLURALS.items()}} | {
    "task": "tasks", "model": "models", "method": "methods"
}  # fmt: skip


@pytest.fixture
def everything():
    with ExitStack() as stack:
        for kind, (name, entry) in OTHERS.items():
            stack.enter_context(added(table_of(kind), name, entry))
        yield


def test_every_open_table_has_a_dummy_here():
    assert {*ADDED, *OTHERS} == set(HOMES)


@pytest.mark.usefixtures("everything")
@pytest.mark.parametrize("kind", OTHERS)
def test_the_others_are_listed(kind):
    name, entry = OTHERS[kind]
    assert KINDS[LISTS[kind]]()[name].strip()
    if getattr(entry, "__doc__", None) and callable(entry) and kind != "metric":
        assert KINDS[LISTS[kind]]()[name].startswith(entry.__doc__[:10])


@pytest.mark.usefixtures("everything")
def test_the_others_take_part_in_a_search(tmp_path):
    """Task, goal, metric, sampler, pruner and executor in one; page, pick and format after it."""
    run = search(
        "few_digits", budget="4k", trials=2, retest=0, sampler="at_random", pruner="all_of_them",
        executor="in_turn", out=tmp_path / "run",
    )  # fmt: skip
    assert run.trials()["state"].tolist() == ["complete", "complete"]
    assert (run.file.goal, run.file.metric) == ("same_classes", "hits")
    assert run.proof == (2, 0)
    assert "a footnote to 2 trials" in (run.folder / "report.html").read_text()
    assert run.pick("the_first") == run.front()["number"].iloc[0]
    assert table_of("tracker")["nowhere"](run) == f"nowhere: {run.folder.name}"
    card = run.export("the_first", tmp_path / "adapter", "factors") / "README.md"
    assert "library_name: a-library" in card.read_text()
    assert "1 runs" in compare([run.folder], tmp_path / "compare.html").read_text()


@pytest.mark.usefixtures("everything")
def test_the_rest_is_found_by_what_asks_for_it(tmp_path):
    """A model by its name, a file by its ending, a trainer and a probe by a segment's setting."""
    assert geometry_of_model("my-vit") == geometry_of_model(OWN_MODEL)
    assert family_of("mine").model_types == ("mine",)
    (tmp_path / "rows.psv").write_text(
        "text|label\n" + "".join(f"row {k}|{k % 2}\n" for k in range(40))
    )
    data = load_task(data=str(tmp_path / "rows.psv"), model="minilm")
    assert len(data.fit) + len(data.select) + len(data.report) == 40
    setting = Setting("digits-vit", {}, 8, 8, trainer="again")
    assert trainer(setting).probe(Probe("constant", setting, ())) == (3.0,)


ROWS = re.findall(
    r"^\| ([^|]+) \| [^|]+ \| ([^|]+) \|$",
    (Path(__file__).parents[1] / "CONTRIBUTING.md").read_text(encoding="utf-8"),
    re.MULTILINE,
)[2:]  # the heading, and the line below it


def modules(row: str) -> list[str]:
    """The modules that a row of the table names; later ones lie beside the first, or in a room."""
    files = re.findall(r"`([\w/]+\.py)`", row.partition("(")[0] + row.rpartition(")")[2])
    root = Path(files[0]).parent if files else Path()
    rooms = [Path("" if one.startswith("tenslora_search") else "tenslora_search") for one in files]
    paths = [
        room / one if "/" in one else root / one for room, one in zip(rooms, files, strict=True)
    ]
    return [str(one.with_suffix("")).replace("/", ".").removesuffix(".__init__") for one in paths]


def test_contributings_table_names_every_open_table_and_no_other():
    named = {module for _, row in ROWS for module in modules(row)}
    homes = {home.rpartition(".")[0] for home in HOMES.values()}
    assert homes <= named
    assert named <= homes
    assert [what for what, row in ROWS if not modules(row)] == ["search space"]
