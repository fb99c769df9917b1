"""kill -9 of the driver: the same command goes on; no finished rung is run twice, no trial is lost
or doubled; once all is there, nothing is run again.
"""

import os
import signal

import pytest

from .conftest import SMALL, events, scores, wait_for

pytestmark = pytest.mark.slow


def test_the_same_command_goes_on(start, here, tmp_path):
    asked = [*SMALL, "--executor", "inline", "--pack", "6"]
    assert here(*asked, "--out", str(tmp_path / "unbroken"))[0] == 0
    killed = start(*asked, "--out", str(tmp_path / "killed"))
    wait_for(
        lambda: any(event["event"] == "segment" for event in events(tmp_path / "killed")), killed
    )
    os.kill(killed.pid, signal.SIGKILL)
    killed.wait()
    before = scores(tmp_path / "killed")
    assert before
    code, out, err = here(*asked, "--out", str(tmp_path / "killed"))
    assert (code, err) == (0, "")
    assert "proof: 0 of 6 configurations over budget" in out
    after = scores(tmp_path / "killed")
    assert before.items() <= after.items()
    assert after == scores(tmp_path / "unbroken")
    assert sorted(
        event["number"] for event in events(tmp_path / "killed") if event["event"] == "proposed"
    ) == list(range(6))
    retests = [
        [event for event in events(tmp_path / name) if event["event"] == "retest"]
        for name in ("killed", "unbroken")
    ]
    assert [(e["number"], e["report_score"]) for e in retests[0]] == [
        (e["number"], e["report_score"]) for e in retests[1]
    ]
    finished = (tmp_path / "killed" / "trials.jsonl").read_bytes()
    code, out, _ = here(*asked, "--out", str(tmp_path / "killed"))
    assert code == 0
    assert "report:" in out
    assert (tmp_path / "killed" / "trials.jsonl").read_bytes() == finished
