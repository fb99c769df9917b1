"""What the search of digits in `tests/golden/run` trained scores the same today; and that folder,
of 0.1.0, is read today. What a search decides is held by tests/study/test_study.py.
"""

import shutil
from dataclasses import replace
from pathlib import Path

import pytest

from tenslora_search import load_run, search
from tenslora_search.engine.asking import setting_of
from tenslora_search.engine.retest import RETEST_SEEDS
from tenslora_search.runs.events import Proposed, Retest, Rung, SegmentDone, read_events
from tenslora_search.runs.run_file import RunFile
from tenslora_search.runs.segment import Entrant, Segment, TrialResult
from tenslora_search.training.segment import run

GOLDEN = Path(__file__).parents[1] / "golden" / "run"
ASKED = {
    "task": "digits", "budget": "4k", "trials": 16, "max_steps": 160, "batch_size": 16,
    "retest": 1, "seed": 3,
}  # fmt: skip
TOLERANCE = 1e-6


def test_the_same_seed_gives_the_same_curves(tmp_path):
    """Every segment of the journal, trained again in its order, and the retest."""
    events, file = read_events(GOLDEN / "trials.jsonl"), RunFile.read(GOLDEN)
    specs = {one.number: one.trial_spec() for one in events if isinstance(one, Proposed)}
    setting, seed = setting_of(file.question, file), file.question.seed
    found, expected, states = {}, {}, {}

    def train(name, entrants, to_step, from_step=0, **more):
        given = {"setting": setting, "data_seed": seed, "from_step": from_step, **more}
        return run(Segment(name, tuple(entrants), to_step=to_step, **given), tmp_path / name)

    for one in events:
        if isinstance(one, Rung):
            expected[one.number, one.step] = (one.score, one.loss)
        elif isinstance(one, SegmentDone):
            entrants = [Entrant(n, specs[n], states.get(n)) for n in one.numbers]
            for result in train(one.id, entrants, one.to_step, one.from_step):
                found[result.number, result.step] = (result.score, result.loss)
                states[result.number] = str(tmp_path / one.id / f"{result.number}.safetensors")
    again = [one for one in events if isinstance(one, Retest)]
    fresh = [
        Entrant(one.number, replace(specs[one.number], seed=specs[one.number].seed + RETEST_SEEDS))
        for one in again
    ]
    for one, result in zip(
        again, train("retest-1", fresh, file.rungs[-1], data_seed=seed + 1, split="report"),
        strict=True,
    ):  # fmt: skip
        expected[one.number, "report"] = (one.report_score,)
        found[one.number, "report"] = (result.score,)
    assert found.keys() == expected.keys()
    for place, numbers in expected.items():
        assert found[place] == pytest.approx(numbers, abs=TOLERANCE), place


@pytest.fixture
def old(tmp_path):
    return load_run(shutil.copytree(GOLDEN, tmp_path / "old"))


def test_an_old_folder_is_read(old):
    assert old.proof == (16, 0)
    assert old.front()["number"].tolist() == [9, 0]
    assert old.trials()["state"].value_counts().to_dict() == {"paused": 14, "complete": 2}
    assert old.report().is_file()


@pytest.mark.parametrize("format", ["peft", "native", "merged"])
def test_an_old_folder_is_exported(old, format, tmp_path):
    assert (old.export("best", tmp_path / "adapter", format) / "README.md").is_file()


def test_an_old_folder_goes_on(old, monkeypatch):
    """Its trials from the states that it holds, and a new one. Of the others the last rung, which
    takes most of the time, is not trained; each scores little there, with the state it came with.
    """
    trained = []

    def some(segment, folder, is_over=None):
        if segment.to_step < ASKED["max_steps"] or not trained:
            trained.append(segment.from_step)
            return run(segment, folder, is_over)
        for one in segment.entrants:
            shutil.copy(one.state, folder / f"{one.number}.safetensors")
        return [TrialResult(one, segment.to_step, 0.1, 1.0, None, 0.1) for one in segment.numbers]

    monkeypatch.setattr("tenslora_search.training.segment.run", some)
    free = {"trials": 17, "retest": 0, "cut": False}
    found = search(**{**ASKED, **free}, executor="inline", out=old.folder)
    assert len(found.trials()) == 17
    assert found.front()["number"].tolist()[0] == 9
    assert trained[0] > 0
    assert 0 in trained
