"""Methods by name narrow any space; what a method says of its own holds for it alone."""

import random

import pytest

from tenslora_search.runs.question import Question
from tenslora_search.spec.allocators import Measured
from tenslora_search.spec.geometry import Geometry
from tenslora_search.spec.knobs import Choice, Range
from tenslora_search.spec.methods import METHODS, methods_named
from tenslora_search.spec.sites import projections_of
from tenslora_search.spec.table import NothingFitsError, QuestionError
from tenslora_search.study.asked import space_of
from tenslora_search.study.proposals import Proposals
from tenslora_search.study.samplers import SAMPLERS
from tenslora_search.study.space import SearchSpace

PLAIN = Geometry.attention(32, 4, 3)


def of_sites(sites: str) -> Geometry:
    return Geometry.attention(32, 4, 3, inner=48, projections=projections_of(sites, "bert"))


def over(*methods: str, space="default", budget=5_000, geometries=PLAIN) -> SearchSpace:
    return SearchSpace.load(space, geometries, budget, methods=methods_named(list(methods)))


@pytest.mark.parametrize(
    ("said", "found"),
    [
        ("lora,lotr", ("LoRA", "LoTR")),
        (" nb_lora , NB LoRA,fact-tt", ("NB-LoRA", "FacT-TT")),
        (["LoRA+"], ("LoRA+",)),
        ("tenslora", tuple(name for name in METHODS if name.startswith("TensLoRA "))),
        ("lora,all", ("all",)),
    ],
)
def test_methods_are_named_with_commas_or_in_a_list(said, found):
    assert methods_named(said) == found


@pytest.mark.parametrize("said", ["", "lora,,sora", "lora, zora", [], [5], 5, {"lora": 1}])
def test_what_is_no_list_of_methods_is_one_line(said):
    with pytest.raises(QuestionError) as error:
        methods_named(said)
    assert "\n" not in str(error.value)


@pytest.mark.parametrize("space", ["default", "seams", "lora"])
def test_only_the_methods_that_were_named_are_proposed(space):
    found = over("lora", "loran", "sora", "prilora ramp", space=space, geometries=of_sites)
    assert found.searched["method"] == Choice(("LoRA", "LoRAN", "SoRA", "PRILoRA ramp"))
    assert not {"structure", "map", "rule", "allocator"} & found.searched.keys()
    generator, names = random.Random(0), set()
    for point in [*found.seeds(), *(found.nudged({}, generator, 2) for _ in range(30))]:
        trial = found.trial(point, 0)
        assert trial.adapter.n_params <= 5_000
        row = METHODS[point["method"]]
        assert trial.adapter.after.name == row.map
        names.add(trial.method)
    assert names <= {"LoRA", "LoRAN", "SoRA", "PRILoRA ramp"}


def test_every_method_that_is_held_is_tried_first_and_lora_at_the_largest_size():
    found = {"intrinsic_dimension": Measured((1.0, 3.0, 2.0, 4.0), PLAIN.projections)}
    space = SearchSpace.load("default", PLAIN, 20_000, found, methods=("all",))
    seeds = space.seeds()
    assert {point["method"] for point in seeds} == set(space.structures)
    assert (seeds[0]["method"], seeds[0]["size"]) == ("LoRA", 1.0)
    assert all(space.trial(point, 0).adapter.n_params <= 20_000 for point in seeds)


def test_a_method_that_does_not_fit_is_named_and_left_out_of_all():
    with pytest.raises(NothingFitsError, match=r"method LoRA needs at least 576 .* is 300"):
        over("lotr", "lora", budget=300)
    assert "LoRA" not in over("all", budget=300).structures


def test_a_method_that_its_allocator_cannot_divide_is_refused(monkeypatch):
    row = METHODS["LoTR"]._replace(allocator="ramp")
    monkeypatch.setitem(METHODS._entries, "LoTR", row)
    with pytest.raises(QuestionError, match="method LoTR can be divided by allocator ramp"):
        over("lora", "lotr")
    assert "LoTR" not in over("all", budget=20_000).structures


def test_a_method_that_the_geometry_cannot_hold_is_named(monkeypatch):
    def odd(modes):
        """Refuses every model."""
        raise QuestionError("it wants widths that are multiples of 7.")

    from tenslora_search.spec.decompositions import DECOMPOSITIONS

    DECOMPOSITIONS.add("odd", odd)
    METHODS.add("Odd", METHODS["LoRA"]._replace(decomposition="odd", note="it is odd"))
    try:
        with pytest.raises(QuestionError, match="method Odd is not for this model: it wants wid"):
            over("lora", "odd")
        assert "Odd" not in over("all").structures
    finally:
        METHODS.remove("Odd")
        DECOMPOSITIONS.remove("odd")


def test_what_a_file_says_of_a_method_is_for_it_alone(tmp_path):
    path = tmp_path / "mine.toml"
    path.write_text(
        """
        methods = ["LoRA", "SoRA", "LoRTA"]
        knobs = "usual"
        learning_rate = 1e-3
        [SoRA]
        learning_rate = [8e-4, 1.2e-3]
        sora.xi = { low = 3e-4, high = 7e-4 }
        [LoRTA]
        learning_rate = { low = 4e-3, high = 5e-2 }
        sites = "qkvo"
        """
    )
    space = SearchSpace.load(path, of_sites, 5_000)
    assert space.searched["SoRA.sora.xi"] == Range(3e-4, 7e-4, True)
    assert space.searched["LoRTA.learning_rate"] == Range(4e-3, 5e-2, True)
    assert "sora.xi" not in space.searched
    point = {"method": "SoRA", "SoRA.sora.xi": 5e-4, "LoRTA.learning_rate": 2e-2}
    sora = space.trial({**point, "SoRA.learning_rate": 1.2e-3}, 0)
    assert dict(sora.adapter.options)["xi"] == 5e-4
    assert sora.learning_rate == 1.2e-3
    lorta = space.trial({**point, "method": "LoRTA"}, 0)
    assert (lorta.learning_rate, len(lorta.adapter.geometry.projections)) == (2e-2, 4)
    lora = space.trial({**point, "method": "LoRA"}, 0)
    assert (lora.learning_rate, len(lora.adapter.geometry.projections)) == (1e-3, 3)
    alone = SearchSpace.load(path, of_sites, 5_000, methods=["LoRA"])
    assert not [name for name in alone.searched if "." in name]


@pytest.mark.parametrize(
    ("text", "why"),
    [
        ('methods = ["LoRA", "SoRO"]', "no method named 'SoRO'"),
        ("methods = 5", "methods are names"),
        ('methods = "LoRA"\nknobs = "odd"', "knobs are searched or usual; got 'odd'"),
        ('methods = "SoRA"\n[SoRA]\nsora.xi = 7', "SoRA: sora.xi is a number from 1e-05"),
        ('methods = "LoRA"\n[LoRA]\nsora.xi = 1e-3', "SoRA|sora"),
        ('methods = "LoRA"\n[LoRA]\nlerning_rate = 1e-3', "Did you mean 'learning_rate'"),
        ('methods = "LoRA"\n[LoRAX]\nlearning_rate = 1e-3', "no key named 'LoRAX.learning_ra"),
    ],
)
def test_wrong_methods_of_a_file_are_one_line(tmp_path, text, why):
    path = tmp_path / "mine.toml"
    path.write_text(text)
    with pytest.raises(QuestionError, match=why) as error:
        SearchSpace.load(path, PLAIN, 5_000)
    assert "\n" not in str(error.value)


def test_a_chain_with_more_links_than_steps_is_refused_before_anything_is_trained():
    def asked(methods: str, max_steps: int) -> SearchSpace:
        question = Question.of_own_loop(
            budget=20_000, model="own", methods=methods, max_steps=max_steps
        )
        return space_of(question, PLAIN, 20_000)

    with pytest.raises(
        QuestionError, match="RAC-LoRA may be a chain of 16 links, more than the 15"
    ):
        asked("lora,rac-lora", 15)
    assert "RAC-LoRA" in asked("lora,rac-lora", 16).structures
    assert "RAC-LoRA" not in asked("all", 15).structures


def test_the_table_has_a_row_a_method():
    rows = over("lora", "prilora ramp", "gelora", budget=4_000).table()
    assert [row.method for row in rows] == ["LoRA", "PRILoRA ramp", "GeLoRA"]
    assert all(row.smallest <= row.largest <= 4_000 for row in rows)


@pytest.mark.parametrize(("n_trials", "n_all"), [(6, 6), (8, 6), (20, 6), (4, 4)])
def test_each_method_that_was_named_is_tried_where_there_are_trials_enough(n_trials, n_all):
    space = over("lora", "lotr", "sora", "loran", "lorta", "metatt")
    proposals = Proposals(space, SAMPLERS["random"], "front", n_trials=n_trials, seed=0)
    known, *_ = proposals.batches({}, n_trials)
    tried = [event.point["method"] for event, _ in known]
    assert len(set(tried)) == n_all
    assert len(tried) == min(8, max(n_all, n_trials // 2)), "LoRA at three sizes, where half allows"


def test_methods_that_nobody_has_named_take_half_of_the_trials():
    space = SearchSpace.load("default", PLAIN, 5_000)
    proposals = Proposals(space, SAMPLERS["random"], "front", n_trials=12, seed=0)
    known, *_ = proposals.batches({}, 12)
    assert len(known) == 6
