"""Signals: the search ends, what there is is reported, exit code 128 and the signal's number; the
same command goes on later.
"""

import os
import signal

import pytest

from .conftest import SMALL, events, scores, wait_for

pytestmark = pytest.mark.slow


def test_ctrl_c_writes_the_report_and_loses_nothing(start, here, tmp_path):
    """Begun by Ray, gone on with in this process: who runs segments is no part of the question."""
    asked = [*SMALL, "--trials", "12", "--pack", "2", "--out", str(tmp_path / "run")]
    running = start(*asked)
    wait_for(
        lambda: any(event["event"] == "segment" for event in events(tmp_path / "run")), running
    )
    os.kill(running.pid, signal.SIGINT)
    out, err = running.communicate(timeout=120)
    assert running.returncode == 130
    assert err == ""
    assert "report:" in out
    assert (tmp_path / "run" / "report.html").is_file()
    before = scores(tmp_path / "run")
    assert len({number for number, _ in before}) < 12
    assert here(*asked, "--executor", "inline")[0] == 0
    assert before.items() <= scores(tmp_path / "run").items()
    assert len([event for event in events(tmp_path / "run") if event["event"] == "proposed"]) == 12


@pytest.mark.parametrize(
    ("executor", "number"), [("ray", signal.SIGTERM), ("inline", signal.SIGHUP)]
)
def test_a_preempted_job_leaves_a_report_and_no_scratch(start, tmp_path, executor, number):
    folder = tmp_path / "run"
    asked = [*SMALL, "--trials", "24", "--executor", executor, "--pack", "2", "--out", str(folder)]
    running = start(*asked)
    wait_for(lambda: any(event["event"] == "segment" for event in events(folder)), running)
    os.killpg(running.pid, number)  # as Slurm and `docker stop` send it: to all of the group
    out, err = running.communicate(timeout=120)
    assert (running.returncode, err) == (128 + number, "")
    assert "report:" in out
    assert (folder / "report.html").is_file()
    assert not list(folder.glob(".segment-*"))
    assert not list(folder.glob("study.journal.lock*"))
