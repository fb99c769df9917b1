"""search() and Run: a small search on digits, what its folder tells, and going on in it."""

import json
import os

import pytest

from tenslora_search.search.results import load_run
from tenslora_search.search.run import parse_seconds, search
from tenslora_search.spec.table import QuestionError

ASKED = {"task": "digits", "budget": "6k", "max_steps": 18, "batch_size": 16, "retest": 2, "executor": "inline"}
COLUMNS = """number state method construction decomposition ranks n_params head_params score report_score report_std step
seconds reason"""


@pytest.fixture(scope="module", autouse=True)
def cache(tmp_path_factory):
    with pytest.MonkeyPatch.context() as patch:
        if "TENSLORA_CACHE" not in os.environ:
            patch.setenv("TENSLORA_CACHE", str(tmp_path_factory.getbasetemp() / "cache"))
        yield


@pytest.fixture(scope="module")
def told():
    return []


@pytest.fixture(scope="module")
def run(tmp_path_factory, told):
    return search(**ASKED, trials=8, out=tmp_path_factory.mktemp("search") / "run", progress=told.append)


def test_every_trial_has_a_row(run):
    trials = run.trials()
    assert set(COLUMNS.split()) <= set(trials.columns)
    assert sorted(trials["number"]) == list(range(8))
    assert set(trials["state"]) <= {"complete", "paused"}
    assert "LoRA" in set(trials["method"])
    assert trials["n_params"].max() <= 6_000
    assert run.proof == (8, 0)


def test_the_front_is_not_dominated_and_was_retested(run):
    front, complete = run.front(), run.trials().query("state == 'complete'")
    assert front["score"].is_monotonic_decreasing
    for row in front.itertuples():
        better = complete[(complete["n_params"] <= row.n_params) & (complete["score"] > row.score)]
        assert better.empty
    assert front["report_score"].notna().all()
    assert front["report_std"].notna().all()


def test_the_retest_uses_fresh_seeds(run):
    events = [json.loads(line) for line in (run.folder / "trials.jsonl").read_text().splitlines()]
    searched = {event["spec"]["seed"] for event in events if event["event"] == "proposed"}
    assert {event["seed"] for event in events if event["event"] == "retest"} == {1, 2}
    assert all(seed < 1_000_000 for seed in searched)


def test_best_within_fewer_parameters(run):
    front = run.front()
    assert run.best() == front.iloc[0]["number"]
    smallest = front.sort_values("n_params").iloc[0]
    assert run.best(max_params=int(smallest["n_params"])) == smallest["number"]
    assert run.pick("smallest") in set(front["number"])
    with pytest.raises(QuestionError, match="no complete trial has 3 parameters or fewer"):
        run.best(max_params=3)


@pytest.mark.parametrize(("format", "file"), [("peft", "adapter_config.json"), ("merged", "config.json"), ("native", "")])
def test_export(run, tmp_path, format, file):
    made = run.export(run.best(), tmp_path / format, format)
    assert made.exists()
    assert (tmp_path / format / file).exists()


def test_only_a_complete_trial_is_exported(run, tmp_path):
    with pytest.raises(QuestionError, match="no trial 8"):
        run.export(8, tmp_path)
    with pytest.raises(QuestionError, match="Did you mean 'best'"):
        run.export("bets", tmp_path)


def test_a_run_is_loaded_from_its_folder(run):
    again = load_run(run.folder)
    assert again.trials().equals(run.trials())
    assert again.file["proof"] == {"checked": 8, "over": 0}
    assert {path.name for path in (run.folder / "adapters").iterdir()} >= set(map(str, run.front()["number"]))
    assert not list(run.folder.glob(".segment-*"))


def test_progress_is_told(run, told):
    assert [one.phase for one in told] == sorted((one.phase for one in told), reverse=True)  # search, then retest
    assert told[-1].n_retests == (2, 2)
    assert told[-1].n_trials == sum(told[-1].counts.values()) == 8
    assert told[-1].best == pytest.approx(run.front()["score"].max())


def test_more_trials_take_a_search_further_and_another_question_is_refused(tmp_path):
    folder = tmp_path / "run"
    few = search(**{**ASKED, "retest": 0}, trials=3, out=folder)
    before = few.trials().set_index("number")["n_params"]
    more = search(**{**ASKED, "retest": 0}, trials=5, out=folder).trials().set_index("number")["n_params"]
    assert len(more) == 5
    assert more.loc[before.index].equals(before)
    with pytest.raises(QuestionError, match="seed was 0, now 1"):
        search(**{**ASKED, "retest": 0}, trials=5, seed=1, out=folder)
    assert len(search(**{**ASKED, "retest": 0}, trials=3, seed=1, out=folder, force=True).trials()) == 3


def test_a_time_limit_ends_the_search_with_a_report(tmp_path):
    run = search(**ASKED, trials=500, time_limit=3.0, out=tmp_path / "run")
    assert len(run.trials()) < 500
    assert (run.folder / "report.html").is_file()


@pytest.mark.parametrize(("text", "seconds"), [("90", 90), ("90s", 90), ("15m", 900), ("1.5h", 5400), ("1h30m", 5400)])
def test_time_limits(text, seconds):
    assert parse_seconds(text) == seconds


@pytest.mark.parametrize("text", ["", "0", "-3", "2 hours", "m", "1d"])
def test_no_time_limits(text):
    with pytest.raises(QuestionError, match="is no time limit"):
        parse_seconds(text)


@pytest.mark.parametrize("gpus", [-1, 1.5, float("nan")])
def test_gpus_per_worker(gpus, tmp_path):
    with pytest.raises(QuestionError, match="--gpus-per-worker"):
        search(**ASKED, gpus_per_worker=gpus, out=tmp_path / "run")
