"""Signals: the search ends, what there is is reported, exit code 128 and the signal's number; the
same command goes on later.
"""

import signal

import pytest

from .conftest import SMALL, events, scores, wait_for

pytestmark = pytest.mark.slow


def test_a_report_no_scratch_and_nothing_is_lost(start, here, tmp_path):
    """Ctrl-C, inline. SIGTERM under Ray: test_worker_killed.py; all three signals:
    tests/api/test_signals.py.
    """
    folder = tmp_path / "run"
    asked = [*SMALL, "--trials", "8", "--retest", "0", "--executor", "inline", "--out", str(folder)]
    running = start(*asked, "--pack", "2")
    wait_for(lambda: any(event["event"] == "segment" for event in events(folder)), running)
    running.send_signal(signal.SIGINT)
    out, err = running.communicate(timeout=120)
    assert (running.returncode, err) == (128 + signal.SIGINT, "")
    assert "report:" in out
    assert (folder / "report.html").is_file()
    assert not list(folder.glob(".segment-*"))
    assert not list(folder.glob("study.journal.lock*"))
    before = scores(folder)
    assert len({number for number, _ in before}) < 8
    assert here(*asked)[0] == 0
    assert before.items() <= scores(folder).items()
    assert len([event for event in events(folder) if event["event"] == "proposed"]) == 8
