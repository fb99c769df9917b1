"""What stands beside the trials of a search: the task head alone, and the front cut down."""

import json
import math
from dataclasses import replace

import pytest

from tenslora_search.api.results import load_run
from tenslora_search.api.search import search
from tenslora_search.engine.asking import setting_of
from tenslora_search.engine.retest import RETEST_SEEDS
from tenslora_search.export.native import read_native
from tenslora_search.report.pages.evidence import ends
from tenslora_search.report.reading import read_run
from tenslora_search.runs.events import HeadAlone, Proposed, read_events
from tenslora_search.runs.segment import HEAD_ALONE, Entrant, Segment, Setting
from tenslora_search.spec.adapter import AdapterSpec
from tenslora_search.training.segment import run

ASKED = {"task": "digits", "budget": "6k", "max_steps": 40, "executor": "inline", "seed": 1,
         "retest": 1, "pruner": "none", "fit_rows": 200}  # fmt: skip


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    return search(**ASKED, trials=3, out=tmp_path_factory.mktemp("beside") / "run").folder


@pytest.fixture(scope="module")
def record(folder):
    return read_run(folder)


def test_the_head_alone_is_scored_on_select_and_retested(record):
    on_select, again = record.zero
    assert 0.1 < on_select < max(one.score for one in record.rows)  # it has learnt, and less
    assert len(again) == 1
    text = (record.folder / "report.md").read_text()
    assert f"0 parameters of the budget), scores {on_select:.4f} on select and {again[0]:.4f}" in (
        text.replace("\\", "")
    )
    assert json.loads((record.folder / "result.json").read_text())["zero"] == {
        "score": on_select,
        "report_scores": list(again),
    }


def test_cuts_are_trials_more_which_are_not_trained(record):
    cuts = [one for one in record.rows if one.cut_from is not None]
    assert cuts
    trials = {one.number: one for one in record.rows}
    assert [one.number for one in cuts] == list(range(3, len(record.rows)))
    for one in cuts:
        parent = trials[one.cut_from]
        assert one.n_params <= parent.n_params / 2
        assert one.method.endswith(", cut down")
        assert one.label.endswith(f", cut from trial {parent.number}")
        assert math.isfinite(one.score)
        assert one.decomposition == parent.decomposition
    assert record.over_budget == 0
    assert ends(record)[:2] == [
        "3 of 3 trials are complete.",
        f"{len(cuts)} more adapters were cut down from them after training.",
    ]
    assert record.counted == tuple(one.n_params for one in record.rows)


def test_the_same_search_again_adds_nothing(folder):
    before = read_events(folder / "trials.jsonl")
    search(**ASKED, trials=3, out=folder)
    assert read_events(folder / "trials.jsonl") == before


def test_a_cut_is_retested_as_its_parent_cut_down_and_exported(folder, tmp_path, record):
    """The recipe: the parent from a fresh seed, cut down, scored on report."""
    told = record.trials
    cut = next(one for one in told.values() if one.cut_from is not None)
    parent = told[cut.cut_from]
    setting = setting_of(record.file.question, record.file)
    fresh = replace(parent.spec, seed=parent.spec.seed + RETEST_SEEDS)
    entrants = (Entrant(0, fresh), Entrant(1, fresh, cut_to=cut.spec.adapter))
    whole, smaller = run(
        Segment("again", entrants, 0, 40, setting, ASKED["seed"] + 1, "report"), tmp_path
    )
    again = [told[number].retests.get(1) for number in (parent.number, cut.number)]
    for one, found in zip(again, (whole, smaller), strict=True):
        assert one is None or one.report_score == pytest.approx(found.score, abs=0.01)
    assert any(again)
    assert (tmp_path / "1.safetensors").stat().st_size < (tmp_path / "0.safetensors").stat().st_size
    to = load_run(folder).export(cut.number, tmp_path / "adapter", "native")
    assert read_native(to / "tenslora.safetensors")[0] == cut.spec.adapter
    told = f"Trial {parent.number}, trained with more parameters, was cut down to this."
    assert told in (to / "README.md").read_text()


def test_more_trials_go_on_after_the_cuts_and_none_are_cut_without_being_asked(tmp_path):
    asked = {**ASKED, "max_steps": 12, "out": tmp_path / "run"}
    search(**asked, trials=2, cut=False)
    events = read_events(tmp_path / "run" / "trials.jsonl")
    assert not [one for one in events if isinstance(one, Proposed) and one.cut_from is not None]
    assert [one.seed for one in events if isinstance(one, HeadAlone)] == [0, 1]
    search(**asked, trials=2)
    rows = search(**asked, trials=3).trials()
    assert rows["cut_from"].isna().sum() == 3
    assert rows["cut_from"].notna().sum() > 0
    assert sorted(rows["number"]) == list(range(len(rows)))


def test_an_entrant_that_is_cut_goes_to_json_and_back(record):
    spec = record.trials[0].spec
    one = Entrant(HEAD_ALONE, spec, None, AdapterSpec.of("none", "cp", 1, spec.adapter.geometry))
    segment = Segment("cuts", (one, Entrant(1, spec)), 0, 8, Setting())
    assert Segment.from_json(json.loads(json.dumps(segment.to_json()))) == segment
