"""Trackers: a run a trial under one parent, scores on select and on report under names of their
own.
"""

import logging
import shutil
import struct
import sys
from contextlib import contextmanager
from pathlib import Path
from types import SimpleNamespace

import pytest

from tenslora_search.api.results import load_run
from tenslora_search.api.trackers import TRACKERS, check_tracker, told, track
from tenslora_search.spec.table import QuestionError, Table

DIGITS = Path(__file__).parents[1] / "report" / "digits"


@pytest.fixture
def run(tmp_path):
    return load_run(shutil.copytree(DIGITS, tmp_path / "run"))


def retested(run) -> str:
    """The name of a trial with report scores."""
    front = run.front().dropna(subset=["report_score"])
    return f"trial {front['number'].iloc[0]:03}"


def test_what_is_told_of_a_trial(run):
    trials = {one.name: one for one in told(run)}
    assert len(trials) == len(run.trials())
    best = trials[retested(run)]
    assert best.ends["select_score"] == best.curve[-1][1]
    assert {"report_score", "report_std", "n_params", "lora_rank"} <= set(best.ends)
    assert {"method", "ranks", "learning_rate", "state"} <= set(best.settings)
    paused = next(one for one in trials.values() if one.settings["state"] == "paused")
    assert "report_score" not in paused.ends


def test_a_notebook_shows_the_front(run):
    assert run._repr_html_().count("<tr") == len(run.front()) + 1


def test_tensorboard(run):
    from tensorboardX.proto.event_pb2 import Event

    said = TRACKERS["tensorboard"](run)
    assert said == TRACKERS["tensorboard"](run)  # in place of the first
    found = {}
    for path in (run.folder / "tensorboard").rglob("events*"):
        data, place = path.read_bytes(), 0
        while place < len(data):
            (length,) = struct.unpack_from("<Q", data, place)
            event = Event.FromString(data[place + 12 : place + 12 + length])
            place += 16 + length
            for value in event.summary.value:
                name = path.relative_to(run.folder / "tensorboard").parts[0]
                found[name, value.tag, event.step] = value.simple_value
    for one in told(run):
        name = one.name.replace(" ", "-")
        for step, score in one.curve:
            assert found[name, "select_score_by_step", step] == pytest.approx(score)


def test_mlflow_hears_of_one_parent_and_a_child_a_trial(run, monkeypatch):
    """By a stand-in; scripts/check_trackers.py does it with the real one."""
    open_runs, runs = [], []

    @contextmanager
    def start_run(run_name, nested=False):
        assert nested == bool(open_runs)
        one = SimpleNamespace(info=SimpleNamespace(run_id="7"), name=run_name, said={})
        runs.append(one), open_runs.append(one)
        yield one
        open_runs.pop()

    def take(said, **_):
        open_runs[-1].said |= said

    monkeypatch.setitem(
        sys.modules,
        "mlflow",
        SimpleNamespace(
            set_experiment=str, start_run=start_run, log_params=take, log_metrics=take,
            log_metric=lambda name, value, step: take({(name, step): value}),
            log_artifact=str, get_tracking_uri=lambda: "file:mlruns",
        ),
    )  # fmt: skip
    assert TRACKERS["mlflow"](run) == "mlflow: 7 in file:mlruns"
    parent, *children = runs
    assert parent.said["budget"] == run.file.budget
    assert [one.name for one in children] == [one.name for one in told(run)]
    (scored,) = [one for one in children if one.name == retested(run)]
    assert scored.said["report_score"] > 0


@pytest.mark.parametrize(("level", "heard"), [("ERROR", 1), ("WARNING", 2), ("INFO", 3)])
def test_a_tracker_is_no_louder_than_the_package(run, monkeypatch, caplog, capsys, level, heard):
    """Nor is its stdout the search's: that may be a result as JSON."""
    told_by_it = logging.getLogger("alembic.runtime")

    def send(run):
        """To nowhere."""
        for say in (told_by_it.info, told_by_it.warning, told_by_it.error):
            say("made a table")
        print("view it at")
        return "sent"

    monkeypatch.setattr("tenslora_search.api.trackers.TRACKERS", Table("tracker", {"send": send}))
    caplog.set_level(logging.INFO, logger=told_by_it.name)
    monkeypatch.setattr(logging.getLogger("tenslora_search"), "level", getattr(logging, level))
    assert track("send", run) == "sent"
    assert len(caplog.messages) == heard
    assert tuple(capsys.readouterr()) == ("", "view it at\n")
    told_by_it.info("and is heard again")
    assert len(caplog.messages) == heard + 1


def test_a_package_that_is_missing_is_one_line(run, monkeypatch):
    monkeypatch.setitem(sys.modules, "wandb", None)
    with pytest.raises(QuestionError, match="wandb is not installed; pip install wandb"):
        TRACKERS["wandb"](run)
    with pytest.raises(QuestionError, match="wandb is not installed; pip install wandb"):
        check_tracker("wandb")
    check_tracker("tensorboard")
    TRACKERS.add("own", str)  # a function of a run alone may be an entry
    try:
        check_tracker("own")
    finally:
        TRACKERS.remove("own")
