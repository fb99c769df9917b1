"""Signals: the search ends, what there is is reported, exit code 128 and the signal's number; the
same command goes on later.
"""

import os
import signal

import pytest

from .conftest import SMALL, events, scores, wait_for

pytestmark = pytest.mark.slow


@pytest.mark.parametrize(
    ("executor", "number", "kill"),
    [("ray", signal.SIGTERM, os.killpg), ("inline", signal.SIGINT, os.kill)],
    ids=["a preempted job", "ctrl-c"],
)
def test_a_report_no_scratch_and_nothing_is_lost(start, here, tmp_path, executor, number, kill):
    """SIGTERM as Slurm and `docker stop` send it, to all of the group. It goes on in this process:
    who runs segments is no part of the question. All three signals: tests/api/test_signals.py.
    """
    folder = tmp_path / "run"
    asked = [*SMALL, "--trials", "8", "--retest", "0", "--out", str(folder)]
    running = start(*asked, "--pack", "2", "--executor", executor)
    wait_for(lambda: any(event["event"] == "segment" for event in events(folder)), running)
    kill(running.pid, number)
    out, err = running.communicate(timeout=120)
    assert (running.returncode, err) == (128 + number, "")
    assert "report:" in out
    assert (folder / "report.html").is_file()
    assert not list(folder.glob(".segment-*"))
    assert not list(folder.glob("study.journal.lock*"))
    before = scores(folder)
    assert len({number for number, _ in before}) < 8
    assert here(*asked, "--executor", "inline")[0] == 0
    assert before.items() <= scores(folder).items()
    assert len([event for event in events(folder) if event["event"] == "proposed"]) == 8
