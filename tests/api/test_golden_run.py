"""A search of digits in this process is the one that `tests/golden/run` holds; and that folder, of
0.1.0, is read today.
"""

import json
import shutil
from pathlib import Path

import pytest

from tenslora_search import load_run, search

GOLDEN = Path(__file__).parents[1] / "golden" / "run"
ASKED = {"task": "digits", "budget": "4k", "trials": 16, "max_steps": 160, "retest": 1, "seed": 3}
TOLERANCE = 1e-6


def told(path: Path) -> list[dict]:
    """The events of a journal but for times."""
    untimed = ("seconds", "peak_memory_mb")
    events = [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines()]
    return [
        {name: value for name, value in event.items() if name not in untimed} for event in events
    ]


def trained(spec: dict) -> dict:
    """What of a specification decides what is trained."""
    adapter = {
        name: spec["adapter"][name]
        for name in ("construction", "decomposition", "ranks", "scale", "alpha")
    }
    return adapter | {
        name: spec[name] for name in ("learning_rate", "head_learning_rate", "rule", "seed")
    }


def test_the_same_command_gives_the_same_run(tmp_path):
    run = search(**ASKED, executor="inline", out=tmp_path / "run")
    found, expected = told(run.folder / "trials.jsonl"), told(GOLDEN / "trials.jsonl")
    assert [(one["event"], one.get("number")) for one in found] == [
        (one["event"], one.get("number")) for one in expected
    ]
    for one, other in zip(found, expected, strict=True):
        if one["event"] == "proposed":
            assert trained(one["spec"]) == trained(other["spec"])
        for name in ("step", "score", "report_score", "loss", "n_params", "state"):
            if name in other:
                assert one[name] == pytest.approx(other[name], abs=TOLERANCE), one


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


def test_an_old_folder_goes_on(old):
    run = search(**{**ASKED, "trials": 18}, executor="inline", out=old.folder)
    assert len(run.trials()) == 18
    assert run.front()["number"].tolist()[0] == 9
