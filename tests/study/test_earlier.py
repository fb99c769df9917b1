"""Warm start: what earlier runs bring to a sampler, what they cannot; they are no trials."""

import json
import logging
import math
import shutil
from dataclasses import replace

import pytest

from tenslora_search import Geometry, ask_tell
from tenslora_search.runs.events import Earlier, Proposed, read_events
from tenslora_search.runs.run_file import RunFile
from tenslora_search.spec.table import QuestionError
from tenslora_search.study.earlier import FADES_AFTER, as_seen, is_same_scale, leaders
from tenslora_search.study.samplers import SAMPLERS
from tenslora_search.study.seen import Seen

GEOMETRY = Geometry.attention(hidden=64, heads=4, layers=3)
SPACE = """construction = ["none", "qkv_depth"]
decomposition = ["cp", "tucker"]
"""


@pytest.fixture(scope="module")
def space(tmp_path_factory):
    path = tmp_path_factory.mktemp("space") / "small.toml"
    path.write_text(SPACE)
    return path


def trained(out, space, **options):
    """A run whose scores grow with the size, and with a learning rate near 2e-3."""
    asked = {"budget": "6k", "trials": 12, "space": space, "geometry": GEOMETRY, **options}
    with ask_tell(out=out, **asked) as study:
        while trial := study.ask():
            rate = abs(math.log10(trial.spec.learning_rate / 2e-3))
            study.tell(trial, score=0.1 * math.log10(trial.spec.adapter.n_params) - 0.1 * rate)
    return out


@pytest.fixture(scope="module")
def before(tmp_path_factory, space):
    return trained(tmp_path_factory.mktemp("before") / "run", space)


def earlier(folder):
    events = read_events(folder / "trials.jsonl")
    return [one for one in events if isinstance(one, Earlier)]


@pytest.mark.parametrize("sampler", [one for one in SAMPLERS if one != "gp"])  # it takes 10 s
def test_every_sampler_is_told_and_they_are_no_trials(sampler, before, space, tmp_path):
    out = trained(tmp_path / "run", space, sampler=sampler, warm_start=[before], trials=8, seed=3)
    found = earlier(out)
    assert len(found) == 12
    assert all(one.is_same for one in found)
    run = [one for one in read_events(out / "trials.jsonl") if isinstance(one, Proposed)]
    assert [one.number for one in run] == list(range(8))
    assert run[0].method == "LoRA"
    assert dict(run[1].point) in leaders(found)  # what led earlier comes right behind it
    content = (out / "trials.jsonl").read_bytes()
    trained(out, space, sampler=sampler, warm_start=[before], trials=8, seed=3)
    assert (out / "trials.jsonl").read_bytes() == content


def test_sizes_are_shares_of_the_new_budget(before, space, tmp_path):
    """What is too large for it is made as large as it allows; what fits keeps its parameters."""
    out = trained(tmp_path / "run", space, budget="3k", warm_start=before, trials=2)
    sizes = {
        one.number: one.n_params
        for one in read_events(before / "trials.jsonl")
        if isinstance(one, Proposed)
    }
    found = earlier(out)
    assert len(found) == 12
    for one in found:
        assert one.n_params <= 3_000
        if sizes[one.trial] <= 3_000:
            assert one.n_params == pytest.approx(sizes[one.trial], rel=0.35)
    assert any(sizes[one.trial] > 3_000 for one in found)


def test_what_cannot_be_carried_over_is_counted_in_one_line(before, tmp_path, caplog):
    narrow = tmp_path / "narrow.toml"
    narrow.write_text('construction = "att"\ndecomposition = "cp"\n')
    with caplog.at_level(logging.WARNING, "tenslora_search"):
        out = trained(tmp_path / "run", narrow, warm_start=[before], trials=2)
    assert earlier(out) == []
    narrow.write_text('construction = "none"\ndecomposition = "cp"\n')
    with caplog.at_level(logging.WARNING, "tenslora_search"):
        out = trained(tmp_path / "other", narrow, warm_start=[before], trials=2)
    n_carried = len(earlier(out))
    assert 0 < n_carried < 12
    assert caplog.messages == [
        "warm start: 0 of 12 earlier trials are carried over; left out are 12 of structures, sites "
        "or choices that the space does not hold",
        f"warm start: {n_carried} of 12 earlier trials are carried over; left out are "
        f"{12 - n_carried} of structures, sites or choices that the space does not hold",
    ]


def test_a_wrong_folder_or_another_model_is_told_before_anything_is_written(
    before, space, tmp_path
):
    with pytest.raises(QuestionError, match=r"none is no run folder: run\.json is missing"):
        trained(tmp_path / "run", space, warm_start=[tmp_path / "none"])
    wide = Geometry.attention(hidden=96, heads=4, layers=3)
    with pytest.raises(QuestionError, match=r"--warm-start .*whose maps have other shapes"):
        trained(tmp_path / "run", space, warm_start=[before], geometry=wide)
    assert not (tmp_path / "run").exists()


def test_a_search_goes_on_without_the_folder_that_it_began_with(before, space, tmp_path):
    old = shutil.copytree(before, tmp_path / "old")
    asked = {"warm_start": [old], "seed": 3}
    out = trained(tmp_path / "run", space, trials=2, **asked)
    shutil.rmtree(old)
    trained(out, space, trials=3, **asked)
    assert len(earlier(out)) == 12
    with pytest.raises(QuestionError, match=r"old is no run folder"):
        trained(out, space, trials=3, force=True, **asked)


def test_a_space_that_no_longer_holds_what_was_carried_over_is_told(before, tmp_path):
    path, said = tmp_path / "mine.toml", "learning_rate = {{ low = {}, high = 1e-2 }}\n"
    path.write_text(SPACE + said.format("1e-4"))
    out = trained(tmp_path / "run", path, trials=1, warm_start=[before])
    path.write_text(SPACE + said.format("9e-4"))
    with pytest.raises(QuestionError, match=r"it no longer holds trial \d+ of .*before"):
        trained(out, path, trials=3, warm_start=[before])


@pytest.mark.parametrize(
    ("change", "data", "expected"),
    [
        ({}, "d", True),
        ({"data": "moved.csv", "model": "moved"}, "d", True),
        ({}, "corrected", False),
        ({"data": "moved.csv"}, "other", False),
        ({"seed": 1}, "cut otherwise", True),
        ({"seed": 1, "data": "moved.csv"}, "cut otherwise", False),
        ({"metric": "f1_macro"}, "d", False),
    ],
)
def test_data_and_models_are_known_by_what_they_hold(change, data, expected, before):
    file = RunFile.read(before)
    asked = replace(file.question, data="own.csv", model="bert", task=None)
    file = replace(file, question=asked, data_digest="d", model_digest="m")
    found = is_same_scale(file, replace(asked, **change), {"data": data, "model": "m"})
    assert found is expected


def told(number, score, run="a", is_same=False):
    return Earlier(run, number, {"size": 0.5}, 100 + number, 9, score, is_same)


def test_scores_of_another_task_are_put_on_the_new_scale_and_fade():
    others = [told(k, 10.0 + k) for k in range(32)]
    own = [Seen(k, {}, 100, {9: 0.5 + 0.1 * (k % 5)}, "complete") for k in range(FADES_AFTER)]
    few, many = as_seen(others, own[:4]), as_seen(others, own)
    assert len(few) > len(many) == 16
    scores = [one.score for one in many]
    assert min(scores) > 0.0
    assert max(scores) < 1.5
    assert scores == sorted(scores, reverse=True)
    same = as_seen([told(k, 10.0 + k, is_same=True) for k in range(5)], own)
    assert [one.score for one in same] == [10.0, 11.0, 12.0, 13.0, 14.0]
    assert all(one.number < 0 for one in many)


@pytest.mark.parametrize("n_own", [0, 1])
def test_runs_of_other_metrics_are_on_one_scale_before_there_are_new_scores(n_own):
    """Losses of one run and accuracies of another: the second is not the better one."""
    losses, shares = ([told(k, low + 0.02 * k, run) for k in range(9)] for run, low in
                      (("a", -3.0), ("b", 0.7)))  # fmt: skip
    own = [Seen(0, {}, 100, {9: 0.5}, "complete")][:n_own]
    seen = [one.score for one in as_seen([*losses, *shares, told(0, 40.0, "c")], own)]
    assert seen[:9] == pytest.approx(seen[9:18]) if not n_own else len(seen) < 19
    assert max(abs(score - 0.5 * n_own) for score in seen) < 2.0


def test_the_question_holds_the_folders(before, space, tmp_path):
    out = trained(tmp_path / "run", space, warm_start=str(before), trials=1)
    assert json.loads((out / "run.json").read_text())["question"]["warm_start"] == [str(before)]
