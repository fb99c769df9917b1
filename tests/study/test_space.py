"""Every point of every space is within the budget; wrong spaces are one line each."""

import operator
import random
import statistics
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tenslora_search.runs.segment import TrialResult
from tenslora_search.spec.adapter import AdapterSpec
from tenslora_search.spec.allocators import Measured, level_ranks
from tenslora_search.spec.constructions import CONSTRUCTIONS
from tenslora_search.spec.decompositions import DECOMPOSITIONS
from tenslora_search.spec.geometry import Geometry
from tenslora_search.spec.knobs import Choice, Range
from tenslora_search.spec.sites import projections_of
from tenslora_search.spec.structure import Structure
from tenslora_search.spec.table import NothingFitsError, QuestionError
from tenslora_search.study.roles import ROLES, bond_roles
from tenslora_search.study.samplers import SAMPLERS
from tenslora_search.study.sizes import settled
from tenslora_search.study.space import SearchSpace
from tenslora_search.study.space_file import TABLES, about_spaces, space_files
from tenslora_search.study.study import Study

PLAIN = Geometry.attention(32, 4, 3)
GROUPED = Geometry.attention(32, 4, 3, kv_heads=2)
FREE = {"structure": "none x cp"}


@pytest.mark.parametrize("geometry", [PLAIN, GROUPED], ids=["plain", "grouped"])
@pytest.mark.parametrize("decomposition", list(DECOMPOSITIONS))
@pytest.mark.parametrize("construction", list(CONSTRUCTIONS))
def test_filled_ranks_fit_and_are_not_dead(construction, decomposition, geometry):
    generator = random.Random(0)
    structure = Structure.of(construction, decomposition, geometry)
    for _ in range(6):
        size = int(structure.smallest * generator.uniform(1, 30))
        weights = [generator.random() for _ in bond_roles(structure)]
        ranks = level_ranks(structure, size, weights)
        assert structure.count(ranks) <= size
        assert all(map(operator.le, ranks, structure.caps(ranks)))


def of_sites(sites: str) -> Geometry:
    """Attention and an MLP without a gate."""
    return Geometry.attention(32, 4, 3, inner=48, projections=projections_of(sites, "bert"))


EVERY_MAP = projections_of("all", "bert")
MEASURED = {
    "intrinsic_dimension": Measured((1.0, 3.0, 2.0, 4.0), EVERY_MAP),
    "gradient_energy": Measured((1.0, 2.0, 3.0) * len(EVERY_MAP), EVERY_MAP),
}


@settings(max_examples=25, deadline=None)
@given(st.integers(200, 60_000), st.integers(0, 10_000), st.sampled_from(sorted(space_files())))
def test_no_point_of_a_packaged_space_is_over_the_budget(budget, seed, name):
    try:
        space = SearchSpace.load(name, of_sites, budget, MEASURED)
    except NothingFitsError:
        return
    generator = random.Random(seed)
    for point in [*space.seeds(), *(space.nudged(FREE, generator, 2) for _ in range(10))]:
        trial = space.trial(point, seed)
        assert trial.adapter.n_params <= budget
        assert trial.adapter == trial.adapter.canonical()


def test_the_first_seed_is_lora_at_the_budget():
    space = SearchSpace.load("default", Geometry.attention(768, 12, 12), 300_000)
    first = space.trial(space.seeds()[0], 0).adapter
    assert (first.method, first.ranks, first.n_params) == ("LoRA", (5,), 276_480)
    methods = {space.trial(point, 0).adapter.method for point in space.seeds()}
    assert {"LoRA", "LoTR", "FacT-TT", "LoRTA", "MetaTT", "TensLoRA qkv_depth"} <= methods


def test_equal_trials_have_equal_keys_whatever_their_seed():
    space = SearchSpace.load("default", PLAIN, 5_000)
    point = space.seeds()[0]
    assert space.key(space.trial(point, 1)) == space.key(space.trial(point, 2))
    other = {**point, "learning_rate": point["learning_rate"] * 2}
    assert space.key(space.trial(other, 1)) != space.key(space.trial(point, 1))


def test_the_table_is_exact_where_it_says_so():
    rows = SearchSpace.load("default", PLAIN, 4_000).table()
    assert {(row.construction, row.decomposition) for row in rows} <= {
        (c, d) for c in CONSTRUCTIONS for d in DECOMPOSITIONS
    }
    for row in rows:
        what = (row.construction, row.decomposition)
        assert row.smallest <= row.largest <= 4_000
        if not row.is_estimate:
            fitting = [rank for rank in range(1, 500) if _fits(*what, rank, 4_000)]
            assert row.feasible == len(fitting)


def test_the_estimate_is_near_the_count_of_all():
    (row,) = [
        row
        for row in SearchSpace.load("default", PLAIN, 4_000).table()
        if row[:2] == ("depth", "tucker")
    ]
    every = [(i, o, n) for i in range(1, 33) for o in range(1, 33) for n in range(1, 4)]
    exact = sum(_fits("depth", "tucker", ranks, 4_000) for ranks in every)
    assert row.feasible == pytest.approx(exact, rel=0.3)


def _fits(construction, decomposition, ranks, budget) -> bool:
    ranks = (ranks,) if isinstance(ranks, int) else ranks
    try:
        return AdapterSpec.of(construction, decomposition, ranks, PLAIN).n_params <= budget
    except QuestionError:
        return False


def test_nothing_fits_says_the_smallest_of_each_construction():
    with pytest.raises(NothingFitsError) as error:
        SearchSpace.load("default", Geometry.attention(768, 12, 12), 500)
    assert error.value.exit_code == 3
    assert all(name in str(error.value) for name in CONSTRUCTIONS)
    assert "859" in str(error.value)


NOT_NUMBERS = ("true", '"fast"', "nan", "inf", "-inf", "-1", "[[0.5]]", "[true]", '["0.5"]', "[]",
               "[nan]", "1e-308", "1e308", "{}", "{ low = 0.1 }", "{ low = 0.5, high = 0.1 }",
               "{ low = 1e-308, high = 1.0 }", "{ low = 0.1, high = 0.1 }",
               "{ low = nan, high = 0.5 }", "{ low = true, high = 0.5 }",
               "{ low = 0.1, high = 0.5, step = 0.1 }", "{ low = [0.1], high = 0.5 }",
               "{ low = 0.1, high = 0.100000000001 }", "2020-01-01", "0x" + "f" * 5000)  # fmt: skip
NUMBER_KEYS = ("size", "learning_rate", "head_learning_rate", "weight_decay", "clip", "warmup")
NOT_NAMES = ("true", "5", "[]", "[5]", '[["cp"]]', "nan", "{ low = 1, high = 2 }", '"nonsense"',
             '["nonsense"]', '["' + "x" * 5000 + '"]', "{ cp = 1 }")  # fmt: skip
TABLE_KEYS = (*TABLES, "structure")
FINE = {"weight_decay": ("1e-308",), "warmup": ("1e-308", "{ low = 1e-308, high = 1.0 }")}
"""What a key takes although others do not."""
REFUSED = [
    f"{key} = {value}"
    for keys, values in ((NUMBER_KEYS, NOT_NUMBERS), (TABLE_KEYS, NOT_NAMES))
    for key in keys
    for value in values
    if value not in FINE.get(key, ())
]


@pytest.mark.parametrize("text", REFUSED, ids=lambda text: text[:60])
def test_what_cannot_be_is_refused_in_one_line_that_names_the_key(tmp_path, text):
    path = tmp_path / "mine.toml"
    path.write_text(text + "\n")
    with pytest.raises(QuestionError) as error:
        SearchSpace.load(str(path), PLAIN, 5_000)
    line = str(error.value)
    assert "\n" not in line
    assert len(line) < 700
    assert text.partition(" =")[0] in line or "cannot be read" in line or "no " in line


WRONG = {
    'decompositoin = ["cp"]': "Did you mean 'decomposition'",
    'decomposition = ["tuker"]': "Did you mean 'tucker'",
    'construction = ["qkv_dept"]': "Did you mean 'qkv_depth'",
    'structure = ["qkv_depth x tuker"]': "Did you mean 'qkv_depth x tucker'? A structure is CONST",
    'scale = ["matchd"]': "Did you mean 'matched'",
    'sites = "qkvoo"': "no sites named 'qkvoo'. Did you mean 'qkvo'?",
    'map = "sintr"': "no map named 'sintr'. Did you mean 'sinter'?",
    "learning_rate = { low = 1e-2, high = 1e-3 }": "low < high",
    "learning_rate = { low = 1e-2 }": "low and high",
    'learning_rate = ["fast"]': "learning_rate is a number from 1e-12 to 1e+06; got 'fast'",
    "size = 0": "size is a number from 1e-09 to 1; got 0",
    "size = 2": "size is a number from 1e-09 to 1; got 2",
    "weight_decay = { low = 0, high = 0.1 }": "a range needs 1e-12 <= low < high",
    "weight_decay = []": "the list is empty",
    'rule = "chian"': "no rule named 'chian'. Known: plain, lora_plus",
    "rule = 5": "rule is a name or a list of names; got 5",
    'structure = ["none"]': "no structure named 'none'",
    "learning_rate = [": "cannot be read",
    "sinter.amplitude = 1e-4": "sinter.amplitude is a knob of map sinter, which this",
    'map = "sinter"\nsinter.amplitud = 1e-4': "no knob named 'amplitud'. Did you mean 'amplitude'?",
    'map = "sinter"\nsinter.amplitude = 1.0': "sinter.amplitude is a number from 1e-06 to 0.001",
    'map = "sinter"\nsinter = 3': "no key named 'sinter'",
    "size = " + "[" * 5000: "nested too deep",
    'allocator = "ramp"\nconstruction = "depth"': "can be divided by allocator ramp",
    'sites = ["qkv", "qv"]': "with one geometry of your own, leave sites out",
    'sites = "qkvo"': "with one geometry of your own, leave sites out",
}


@pytest.mark.parametrize("text", list(WRONG))
def test_a_wrong_space_is_one_line(tmp_path, text):
    path = tmp_path / "mine.toml"
    path.write_text(text + "\n")
    with pytest.raises(QuestionError) as error:
        SearchSpace.load(str(path), PLAIN, 5_000)
    assert WRONG[text] in str(error.value)
    assert "\n" not in str(error.value)


@pytest.mark.parametrize(
    ("name", "hint"),
    [
        ("defalt", "Did you mean 'default'"),
        ("spaces/none.toml", "no space file"),
        ("x" * 5000, "no space named 'xxx"),
        ("/" + "x" * 5000 + ".toml", "no space file"),
        ("~nobody-here/x.toml", "no space file"),
    ],
    ids=lambda text: text[:20],
)
def test_an_unknown_space_is_one_line(name, hint):
    with pytest.raises(QuestionError, match=hint):
        SearchSpace.load(name, PLAIN, 5_000)


def loaded(tmp_path, text, geometries=PLAIN, budget=5_000) -> SearchSpace:
    path = tmp_path / "mine.toml"
    path.write_text(text + "\n")
    return SearchSpace.load(path, geometries, budget)


def test_a_list_is_a_choice_and_a_table_a_range(tmp_path):
    space = loaded(
        tmp_path,
        'construction = "depth"\ndecomposition = ["cp", "tucker"]\nrule = ["plain", "lora_plus"]\n'
        "weight_decay = 0\nlearning_rate = [1e-3, 1e-2]\nsize = 1.0",
    )
    assert space.searched["learning_rate"].values == (1e-3, 1e-2)
    assert set(space.searched) == {"structure", "learning_rate", "rule", *ROLES}
    assert tuple(space.structures.values()) == (("depth", "cp"), ("depth", "tucker"))


SAID = {
    **dict.fromkeys(NUMBER_KEYS, ("0.25", "[0.25]", "[0.25, 0.5]", "{ low = 0.25, high = 0.5 }")),
    **{
        key: (f'"{first}"', f'["{first}"]', f'["{first}", "{second}"]', f'["{first}", "{first}"]')
        for key, first, second in (
            ("construction", "none", "depth"),
            ("decomposition", "cp", "tucker"),
            ("structure", "none x cp", "qkv x tucker"),
            ("scale", "matched", "alpha"),
            ("rule", "plain", "lora_plus"),
            ("map", "as_is", "sinter"),
            ("allocator", "level", "ramp"),
            ("sites", "qkv", "qv"),
        )
    },
    "sinter.amplitude": ("1e-4", "[1e-4]", "[1e-4, 1e-5]", "{ low = 1e-5, high = 1e-4 }"),
    "ramp.ratio": ("2", "[2]", "[2, 4]", "{ low = 2, high = 4 }"),
}
NAMING = {"sinter.amplitude": 'map = ["as_is", "sinter"]', "ramp.ratio": 'allocator = "ramp"'}


SAMPLED = ("size", "rule", "sinter.amplitude", "ramp.ratio", "sites")
"""Keys of each kind with every sampler: a number, a name, knobs, geometries; all with the first."""


@pytest.mark.parametrize(
    ("key", "sampler"),
    [(key, one) for key in SAID for one in SAMPLERS if one == "random" or key in SAMPLED],
)
def test_constant_list_and_range_work_with_every_sampler(tmp_path, key, sampler):
    """The study proposes, is told and proposes again; every trial is within the budget and has what
    the space says.
    """
    few = SAID[key] if sampler == "random" else SAID[key][-2:]
    for number, value in enumerate(few):
        space = loaded(tmp_path, f"{NAMING.get(key, '')}\n{key} = {value}", of_sites)
        folder = tmp_path / str(number)
        folder.mkdir()
        study = Study(space, folder, n_trials=4, rungs=(3,), sampler=sampler, seed=number)
        while work := study.next_segment(2):
            told = [TrialResult(n, 3, 0.5 + n / 100, 0.1, None, 1.0) for n in work.numbers]
            study.record(work, told, dict.fromkeys(work.numbers), 1.0)
        assert len(study.records) == 4
        assert all(record.n_params <= 5_000 for record in study.records.values())
        assert all(space.holds(point) for point in space.seeds())


@pytest.mark.parametrize("sampler", ["tpe", "gp"])
def test_the_sampler_itself_proposes_over_a_space_with_everything(tmp_path, sampler):
    """Beyond the seeds and the sampler's own first points."""
    space = loaded(tmp_path, EVERYTHING, of_sites)
    n_trials = 48 if sampler == "tpe" else 16
    study = Study(space, tmp_path, n_trials=n_trials, rungs=(3,), sampler=sampler)
    while work := study.next_segment(4):
        told = [TrialResult(n, 3, random.Random(n).random(), 0.1, None, 1.0) for n in work.numbers]
        study.record(work, told, dict.fromkeys(work.numbers), 1.0)
    specs = [record.spec for record in study.records.values()]
    assert len({space.key(spec) for spec in specs}) == n_trials
    assert {spec.allocator.name for spec in specs} == {"level", "ramp"}
    assert {spec.adapter.after.name for spec in specs} == {"as_is", "sinter"}
    assert len({spec.adapter.geometry for spec in specs}) == 3


EVERYTHING = """
construction = ["none", "qkv", "depth"]
decomposition = ["cp", "tucker"]
rule = ["plain", "lora_plus"]
map = ["as_is", "sinter"]
allocator = ["level", "ramp"]
sites = ["qkv", "qv", "qkvo"]
size = [0.5, 1.0]
sinter = { amplitude = { low = 1e-5, high = 1e-4 }, frequency = 1e4 }
"""


def test_knobs_of_what_is_named_are_parameters(tmp_path):
    space = loaded(tmp_path, EVERYTHING, of_sites)
    assert space.searched["sinter.amplitude"] == Range(1e-5, 1e-4, log=True)
    assert space.searched["ramp.ratio"] == Range(1 / 8, 8, log=True)
    assert space.parameters["sinter.frequency"] == Choice((1e4,))
    assert "sinter.amplitude" not in loaded(tmp_path, "size = 1.0").parameters


def test_a_knob_of_what_was_not_chosen_does_not_count(tmp_path):
    space = loaded(tmp_path, EVERYTHING, of_sites)
    point = {**space.seeds()[0], "map": "as_is"}
    one, other = (space.trial({**point, "sinter.amplitude": value}, 0) for value in (1e-5, 1e-4))
    assert one == other
    mapped, again = (
        space.trial({**point, "map": "sinter", "sinter.amplitude": value}, 0)
        for value in (1e-5, 1e-4)
    )
    assert space.key(mapped) != space.key(again)
    assert dict(mapped.adapter.after.options) == {"amplitude": 1e-5, "frequency": 1e4}


def test_known_methods_that_the_space_holds_come_first(tmp_path):
    space = loaded(tmp_path, EVERYTHING, of_sites, budget=9_000)
    names = [space.trial(point, 0).method for point in space.seeds()]
    assert names[0] == "LoRA"
    assert {"LoRA+", "LoRAN", "PRILoRA ramp", "TensLoRA qkv", "TensLoRA depth"} <= set(names)
    assert not {"LoTR", "MetaTT"} & set(names)
    alone = loaded(tmp_path, 'structure = "none x cp"\nallocator = "ramp"')
    assert alone.trial(alone.seeds()[0], 0).method == "PRILoRA ramp"


def test_a_structure_that_cannot_be_divided_takes_the_allocator_that_can(tmp_path):
    space = loaded(tmp_path, 'allocator = ["ramp", "level"]')
    usual = space.seeds()[0]
    ramped = space.trial({**usual, "structure": "none x cp", "allocator": "ramp"}, 0)
    assert (ramped.allocator.name, ramped.adapter.is_per_copy) == ("ramp", True)
    shared = space.trial({**usual, "structure": "depth x cp", "allocator": "ramp"}, 0)
    assert (shared.allocator.name, shared.adapter.is_per_copy) == ("level", False)
    only = loaded(tmp_path, 'allocator = "ramp"')
    assert {pair[0] for pair in only.structures.values()} == {"none", "att", "qkv", "att_qkv"}


def test_the_geometry_follows_the_sites_of_the_point(tmp_path):
    space = loaded(tmp_path, 'sites = ["qkvo", "qv"]\nstructure = "none x cp"', of_sites, 1_000)
    usual = space.seeds()[0]
    found = {
        sites: space.trial({**usual, "sites": sites}, 0).adapter.geometry.projections
        for sites in ("qkvo", "qv")
    }
    # LoRA of all four maps needs 12 x 64 = 768 parameters, and so fits
    assert found == {"qkvo": ("query", "key", "value", "out"), "qv": ("query", "value")}
    small = loaded(tmp_path, 'sites = ["qkvo", "qv"]\nstructure = "none x cp"', of_sites, 500)
    assert {row.sites for row in small.table()} == {"qv"}
    assert small.trial({**usual, "sites": "qkvo"}, 0).adapter.geometry == of_sites("qv")


def test_sizes_go_from_the_smallest_structure_to_the_budget_and_known_methods_take_several():
    space = SearchSpace.load("default", Geometry.attention(768, 12, 12), 300_000)
    least = min(row.smallest for row in space.table())
    assert space.parameters["size"] == Range(least / 300_000, 1.0, log=True)
    counts = [space.trial(point, 0).adapter.n_params for point in space.seeds()]
    assert counts[0] == max(counts)
    assert min(counts) < 4_000
    assert sum(count > 150_000 for count in counts) < len(counts) / 2


def test_a_size_that_a_structure_cannot_have_is_drawn_anew_from_those_it_can():
    space = SearchSpace.load("default", Geometry.attention(768, 12, 12), 300_000)
    generator = random.Random(0)
    small = {**space.seeds()[0], "size": space.parameters["size"].low}
    sizes = [settled(space, small, generator)["size"] for _ in range(20)]
    assert len(set(sizes)) == 20
    assert min(sizes) >= 0.99 * 12 * 3 * 2 * 768 / 300_000
    assert settled(space, {**small, "size": 0.5}, generator)["size"] == 0.5


@pytest.mark.parametrize(
    ("limits", "budget"),
    [
        ({"max_rank": 3}, 6_000),
        ({"min_budget": 4_000}, 6_000),
        ({"max_rank": 4, "min_budget": 2_000}, 6_000),
    ],
)
def test_no_point_is_below_the_least_size_or_above_the_largest_rank(tmp_path, limits, budget):
    path = tmp_path / "mine.toml"
    path.write_text(EVERYTHING.replace("size = [0.5, 1.0]", ""))
    space = SearchSpace.load(path, of_sites, budget, **limits)
    generator = random.Random(1)
    for point in [*space.seeds(), *(space.nudged(FREE, generator, 2) for _ in range(5))]:
        point = {**space.seeds()[0], **point}
        adapter = space.trial(settled(space, point, generator), 0).adapter
        assert limits.get("min_budget", 1) <= adapter.n_params <= budget
        assert adapter.is_low_rank or "max_rank" not in limits
        assert adapter.slice_rank <= limits.get("max_rank", 1_000)


def test_a_table_says_what_keeps_to_the_limits():
    plain, narrow = (
        {f"{row.construction} x {row.decomposition}": row for row in space.table()}
        for space in (
            SearchSpace.load("default", PLAIN, 6_000),
            SearchSpace.load("default", PLAIN, 6_000, max_rank=2, min_budget=500),
        )
    )
    lora = narrow["none x cp"]
    assert lora.largest == 2 * plain["none x cp"].smallest
    assert lora.feasible == 2
    for name, row in narrow.items():
        assert 500 <= row.smallest <= row.largest <= plain[name].largest
        assert row.feasible <= plain[name].feasible


def test_limits_that_nothing_keeps_to_are_one_line(tmp_path):
    with pytest.raises(NothingFitsError, match="ranks up to 1 and from 5,000 to 6,000 param"):
        SearchSpace.load("lora", PLAIN, 6_000, max_rank=1, min_budget=5_000)
    for names in (["LoRAN", "LoRA"], ["LoRA", "QuanTA"]):
        with pytest.raises(NothingFitsError, match=r"method (LoRAN|QuanTA) has .* are dense"):
            SearchSpace.load("default", PLAIN, 6_000, max_rank=2, methods=names)
    for names in (["all"], ["LoRA", "LoTR"]):  # there is none that could be left out
        with pytest.raises(NothingFitsError, match=r"^none of the methods .* or --budget\.$"):
            SearchSpace.load("default", PLAIN, 6_000, max_rank=1, min_budget=5_999, methods=names)
    path = tmp_path / "mine.toml"
    path.write_text('map = "sinter"\n')
    with pytest.raises(QuestionError, match="--max-rank is about updates that are a low-rank"):
        SearchSpace.load(path, PLAIN, 6_000, max_rank=4)


PRIOR = """
[prior]
weight = 6
structure = ["depth x tucker2"]
learning_rate = 1e-3
"""


def test_a_prior_is_followed_at_first_and_fades(tmp_path):
    space = loaded(tmp_path, PRIOR)
    generator = random.Random(0)
    points = [space.nudged(FREE, generator, 2) for _ in range(60)]

    def share(n_trials: int) -> float:
        found = [space.prior.followed(one, space.searched, n_trials, generator) for one in points]
        assert all(space.holds({**space.seeds()[0], **one}) for one in found)
        rates = [one["learning_rate"] for one in found if one["structure"] == "depth x tucker2"]
        assert statistics.median(rates) == pytest.approx(1e-3, rel=0.5)
        return len(rates) / len(points)

    assert share(0) == 1
    assert share(6) == pytest.approx(0.5, abs=0.15)
    assert share(300) < 0.15


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("prior = 3", "prior is a table of values; got 3"),
        (
            "[prior]\nlearning_rat = 1e-3",
            "no key named 'learning_rat'. Did you mean 'learning_rate'",
        ),
        ("[prior]\nlearning_rate = 1.0", "learning_rate holds 0.0002 to 0.01; got 1.0"),
        ('[prior]\nstructure = "none x tuker"', "got 'none x tuker'"),
        ("[prior]\nweight = -1", "weight is a number of trials from 0 to 1e+06; got -1"),
        ("[prior]\nsize = []", "size is an empty list"),
    ],
)
def test_a_wrong_prior_is_one_line(tmp_path, text, said):
    with pytest.raises(QuestionError) as error:
        loaded(tmp_path, text)
    assert said in str(error.value)


def test_every_packaged_space_says_what_it_is():
    assert next(iter(space_files())) == "default"
    assert all(about_spaces().values())
    assert all(Path(file).read_text().startswith("#") for file in space_files().values())


def test_a_table_of_grouped_heads_counts_where_a_bond_alone_adds_nothing():
    rows = SearchSpace.load("default", GROUPED, 4_000).table()
    assert all(row.smallest <= row.largest <= 4_000 and row.feasible > 0 for row in rows)


def test_what_allocators_need_is_asked_of_the_space_and_not_of_its_table(tmp_path):
    space = loaded(tmp_path, 'structure = "none x cp"\nallocator = ["gelora", "level", "gradient"]')
    assert space.needs == ("intrinsic_dimension", "gradient_energy")
    assert loaded(tmp_path, 'allocator = ["level", "ramp"]').needs == ()
    again = loaded(tmp_path, 'structure = "none x cp"\nallocator = ["gelora", "level", "gradient"]')
    assert again.table()[0].smallest > 0
    with pytest.raises(QuestionError, match="4 numbers of the probe intrinsic_dimension"):
        again.trial({"structure": "none x cp", "allocator": "gelora"}, 0)
    shared = loaded(tmp_path, 'structure = "depth x cp"\nallocator = ["gelora", "level"]')
    assert shared.needs == ()


@pytest.mark.parametrize("decomposition", ["cp", "tucker", "tensor_train"])
def test_no_pair_is_of_a_larger_rank_than_servers_take(decomposition, tmp_path):
    path = tmp_path / "mine.toml"
    path.write_text(f'construction = ["none", "qkv_depth"]\ndecomposition = "{decomposition}"\n')
    geometry = Geometry.attention(32, 4, 3)
    free = SearchSpace.load(path, geometry, 20_000)
    held = SearchSpace.load(path, geometry, 20_000, max_rank=5)
    found = []
    for point in ({"structure": one, "size": 1.0} for one in free.structures):
        assert free.trial(point, 0).adapter.slice_rank > 5
        found.append(held.trial(point, 0).adapter)
    assert max(one.slice_rank for one in found) <= 5
    assert min(one.slice_rank for one in found) >= 3
    assert all(one.n_params <= 20_000 for one in found)
