"""Serving: who is retested and exported, what becomes of failed retests, and the report before the
adapters.
"""

import json
import shutil
import time
from pathlib import Path

import pytest
import torch
from safetensors.torch import save_file

from tenslora_search.api.results import Run
from tenslora_search.api.search import search
from tenslora_search.engine import serving
from tenslora_search.engine.progress import Progress
from tenslora_search.engine.retest import MOST_CUT, MOST_RETESTED
from tenslora_search.engine.serving import Serving
from tenslora_search.report.pareto import PICKS
from tenslora_search.runs.question import Question
from tenslora_search.runs.run_file import RunFile
from tenslora_search.runs.segment import TrialResult
from tenslora_search.spec.table import QuestionError
from tenslora_search.spec.tasks import TASKS
from tenslora_search.spec.tasks.task import SPLIT

ASKED = {"task": "digits", "budget": "20k", "max_steps": 12, "executor": "inline"}


def events(folder: Path, kind: str) -> list[dict]:
    found = [json.loads(line) for line in (folder / "trials.jsonl").read_text().splitlines()]
    return [event for event in found if event["event"] == kind]


@pytest.fixture
def exported(monkeypatch) -> list[int]:
    """The numbers of trials that would be exported."""
    numbers: list[int] = []

    def export(run, which, to, format="peft"):
        numbers.append(int(which))
        Path(to).mkdir(parents=True, exist_ok=True)
        return Path(to)

    monkeypatch.setattr(Run, "export", export)
    return numbers


@pytest.fixture
def fails(monkeypatch) -> set[str]:
    """Nothing is trained: more parameters are better. Segments whose names are put in here cannot
    be run.
    """
    names: set[str] = set()

    def run(segment, folder, is_over=None):
        if any(segment.id.startswith(name) for name in names):
            raise KeyError("pixel_values")
        rows = []
        for one in segment.entrants:
            number, spec = one.number, one.ended
            save_file({"a": torch.zeros(1)}, folder / f"{number}.safetensors")
            score = 0.95 - 0.5 * spec.adapter.n_params**-0.2
            rows.append(
                TrialResult(
                    number, segment.to_step, score + 0.001 * (spec.seed % 3), 0.5, None, 0.1
                )
            )
        return rows

    monkeypatch.setattr("tenslora_search.training.segment.run", run)
    return names


def test_a_segment_tells_where_it_stands(tmp_path, monkeypatch, exported):
    """Also when its worker was lost and it begins again."""
    now = iter(range(1_000))
    monkeypatch.setattr(serving.time, "monotonic", lambda: 6.0 * next(now))
    told: list[Progress] = []

    def run(segment, folder, is_over=None):
        for step in (0, 3, 0, 6):
            is_over(step)
        raise ValueError("no more than that")

    monkeypatch.setattr("tenslora_search.training.segment.run", run)
    search(**ASKED, trials=1, retest=0, out=tmp_path / "run", progress=told.append)
    beats = [one for one in told if one.steps is not None]
    assert {one.steps for one in beats} <= {(0, 4), (3, 4), (6, 4)}
    assert any(one.seconds_to_scores is not None for one in beats)
    assert told[-1].steps is None


def test_of_a_long_front_the_picks_are_retested_and_exported(tmp_path, fails, exported):
    run = search(**ASKED, trials=40, pruner="none", out=tmp_path / "run")
    front, told = run.front(), run.trials().set_index("number")
    assert len(front) > MOST_RETESTED
    picks = {run.pick(name) for name in PICKS}
    worth = told["estimate"].fillna(told["score"])
    lora = worth[(told["method"] == "LoRA") & (told["state"] == "complete")].idxmax()
    assert all(told.loc[number, "n_retests"] == 2 for number in {*picks, lora})
    retested = set(told.index[told["n_retests"] > 0])
    assert len(retested) <= MOST_RETESTED + 2  # LoRA's best; `smallest` once the noise is known
    assert set(exported) == picks | (retested & set(front["number"]))
    n_left = len(front) - len(retested & set(front["number"]))
    assert (
        f"{n_left} of the front's {len(front)} members were not retested"
        in (run.folder / "report.md").read_text()
    )


def test_a_search_that_has_ended_cuts_no_more(tmp_path, exported, monkeypatch):
    """Though cuts have driven the members they were made of off the front."""

    def run(segment, folder, is_over=None):
        rows = []
        for one in segment.entrants:
            save_file({"a": torch.zeros(1)}, folder / f"{one.number}.safetensors")
            score = 0.9 - 0.5 * one.spec.adapter.n_params**-0.2 + 0.05 * (one.cut_to is not None)
            rows.append(TrialResult(one.number, segment.to_step, score, 0.5, None, 0.1))
        return rows

    monkeypatch.setattr("tenslora_search.training.segment.run", run)
    monkeypatch.setattr(Run, "report", lambda run: None)
    asked = {**ASKED, "trials": 12, "pruner": "none", "retest": 1, "out": tmp_path / "run"}
    folder = search(**asked).folder
    before = (folder / "trials.jsonl").read_bytes()
    assert len([one for one in events(folder, "proposed") if "cut_from" in one]) > MOST_CUT
    search(**asked)
    assert (folder / "trials.jsonl").read_bytes() == before


def test_a_failed_retest_is_tried_once_more_then_told_of_and_tried_again_in_a_resume(
    tmp_path, fails, exported
):
    heard: list[dict] = []
    fails |= {"retest-2"}
    run = search(**ASKED, trials=2, out=tmp_path / "run", callbacks=[heard.append])
    n_retested = len(events(run.folder, "retest"))
    failed = events(run.folder, "retest_failed")
    assert {(event["seed"], event["reason"]) for event in failed} == {
        (2, "KeyError: 'pixel_values'")
    }
    assert len(failed) == n_retested > 0
    assert failed[0] in heard
    told = f"{len(failed)} retest{'s' if len(failed) > 1 else ''} failed because KeyError: 'pixel"
    assert told in (run.folder / "report.md").read_text().replace("\\_", "_")
    fails.clear()
    run = search(**ASKED, trials=2, out=tmp_path / "run")
    assert len(events(run.folder, "retest")) == 2 * n_retested
    assert "failed because" not in (run.folder / "report.md").read_text()


def test_a_retest_that_fails_once_is_made_good(tmp_path, fails, exported):
    fails |= {"retest-1"}
    run = search(
        **ASKED,
        trials=2,
        out=tmp_path / "run",
        progress=lambda told: told.phase == "retest" and fails.clear(),
    )
    assert {event["seed"] for event in events(run.folder, "retest")} == {1, 2}
    assert events(run.folder, "retest_failed") == []


def test_a_file_in_the_way_of_an_adapter_costs_that_adapter_alone(tmp_path):
    asked = {**ASKED, "budget": "6k", "retest": 0, "trials": 3, "out": tmp_path / "run"}
    run = search(**asked)
    first, adapters = str(run.best()), run.folder / "adapters"
    (adapters / first).rename(adapters / "90")  # as if of a trial that was on the front once
    (adapters / first).mkdir()
    (adapters / first / "notes.txt").touch()
    shutil.copytree(adapters / "90", adapters / "91")
    (adapters / "91" / "thesis.tex").touch()
    shutil.copytree(adapters / "90", adapters / "mine")
    (run.folder / "report.html").unlink()
    with pytest.raises(
        QuestionError,
        match=rf"adapters/{first} is no export: it holds notes.txt; choose another folder",
    ) as error:
        search(**asked)
    assert "report.html" in str(error.value)
    assert (run.folder / "report.html").is_file()
    (adapters / first / "notes.txt").unlink()
    search(**asked)
    assert sorted(path.name for path in adapters.iterdir()) == sorted(
        [*map(str, run.front()["number"]), "91", "mine"]
    )


def test_an_error_in_the_importances_costs_that_page_alone(tmp_path, fails, exported, monkeypatch):
    def breaks(*_):
        raise ZeroDivisionError

    monkeypatch.setattr("tenslora_search.api.finish.importances", breaks)
    run = search(**ASKED, trials=2, retest=0, out=tmp_path / "run")
    assert (run.folder / "report.html").is_file()


def test_a_garbled_state_begins_again_from_nothing_and_left_overs_go(tmp_path, fails, exported):
    """Seen by a search that is taken further; no trial fails for it."""
    folder = tmp_path / "run"
    asked = {**ASKED, "retest": 0, "pack": 4, "out": folder, "max_steps": 36}
    asked |= {"pruner": "successive_halving"}
    search(**asked, trials=6)
    paused = list((folder / "states").glob("*-4.safetensors"))
    assert paused
    for path, content in zip(paused, (b"garbage", b"", b"\0" * 99), strict=False):
        path.write_bytes(content)
    (folder / ".segment-left").mkdir()
    (folder / "states" / "77-4.safetensors").touch()
    (folder / "states" / "0-12.part").touch()
    (folder / "states" / "notes.txt").touch()
    run = search(**asked, trials=40)
    assert set(run.trials()["state"]) <= {"complete", "paused"}
    names = {path.name for path in (folder / "states").iterdir()}
    assert not names & {"77-4.safetensors", "0-12.part"}
    assert "notes.txt" in names
    assert not (folder / ".segment-left").exists()


def serving_of(folder: Path, *, trials: int, split: int | None = 1) -> Serving:
    """Of a search of so many trials within 100 seconds, in packs as wide, that has just begun."""
    question = Question.of(budget="20k", task="digits", trials=trials, max_steps=12, split=split)
    run = RunFile(
        question=question, budget=20_000, head_params=0, task="digits", model="digits-vit",
        metric="accuracy", labels=(), goal="classes", geometry=question.geometry(),
        rungs=question.rungs, versions={}, data_digest=None, command=None,
    )  # fmt: skip
    (folder / "states").mkdir()
    limits = {"time_limit": 100.0, "pack": trials, "progress": None}
    source = Serving(folder, question, run, began=time.monotonic(), **limits)
    source.served_by(1, on_gpu=False)
    return source


def test_trials_of_digits_are_cut_into_two_packs_on_cpus(tmp_path):
    """Other tasks' into four: a step of this model costs nearly the same in a wide pack."""
    source = serving_of(tmp_path, trials=16, split=None)
    assert [len(source.next_work().numbers) for _ in range(2)] == [8, 8]
    assert {one.split for name, one in TASKS.items() if name != "digits"} == {SPLIT}
    assert TASKS["digits"].split_of("google/vit-base-patch16-224") == SPLIT


def test_a_slow_narrow_pack_does_not_decide_what_is_kept(tmp_path):
    """It would end the search at once: what all trials have taken does."""
    source = serving_of(tmp_path, trials=17)
    for n_trials, seconds in ((16, 1.0), (16, 2.0), (1, 8.0)):
        segment = source.next_work()
        assert len(segment.numbers) == n_trials
        rows = [TrialResult(one, segment.to_step, 0.5, 0.5, None, 0.1) for one in segment.numbers]
        for row in rows:
            save_file({"a": torch.zeros(1)}, tmp_path / f"{row.number}.safetensors")
        source.finished(segment, rows, tmp_path, seconds)
    assert source.seconds_left == pytest.approx(75, abs=2.0)


@pytest.mark.parametrize(("seconds", "share"), [(0.1, 0.25), (20 / 3, 0.4), (60.0, 0.5)])
def test_of_the_time_limit_as_much_is_kept_as_the_retests_will_take(tmp_path, seconds, share):
    """Nothing before there is a trial to retest; then a quarter at least and half at most."""
    source = serving_of(tmp_path, trials=1)
    for n_steps, kept in ((4, 0.0), (8, share)):
        segment = source.next_work()
        assert (len(segment.numbers), segment.to_step - segment.from_step) == (1, n_steps)
        save_file({"a": torch.zeros(1)}, tmp_path / "0.safetensors")
        rows = [TrialResult(0, segment.to_step, 0.5, 0.5, None, 0.1)]
        source.finished(segment, rows, tmp_path, seconds * n_steps / 12)
        # of 12 steps; the retest takes 12 of 3 trials from 2 seeds
        assert source.seconds_left == pytest.approx(100 * (1 - kept), abs=1.0)
