"""kill -9 of a Ray worker in mid-segment: the segment runs again, the result is the same."""

import os
import signal
from pathlib import Path

import pytest

from .conftest import SMALL, events, scores, wait_for

pytestmark = pytest.mark.slow


def parent(number: int) -> int:
    stat = Path(f"/proc/{number}/stat").read_bytes()
    return int(stat.rpartition(b")")[2].split()[1])


def busy_workers(driver: int) -> list[int]:
    """Processes of the driver's raylet that are training a segment, by the title Ray gives them."""
    found = []
    for entry in Path("/proc").iterdir():
        if entry.name.isdigit():
            try:
                title = (entry / "cmdline").read_bytes()
                is_busy = b"ray::" in title and b"train" in title
                if is_busy and parent(parent(int(entry.name))) == driver:
                    found.append(int(entry.name))
            except OSError:
                continue
    return found


def kill_one(workers: list[int]) -> bool:
    """Whether there was one: between segments none is busy."""
    for worker in workers[:1]:
        os.kill(worker, signal.SIGKILL)
    return bool(workers)


def test_a_killed_segment_runs_again(start, here, tmp_path):
    asked = [*SMALL, "--trials", "4", "--max-steps", "90", "--pack", "2", "--retest", "0"]
    assert here(*asked, "--executor", "inline", "--out", str(tmp_path / "inline"))[0] == 0
    killed = start(*asked, "--out", str(tmp_path / "ray"))
    wait_for(lambda: bool(busy_workers(killed.pid)), killed)
    wait_for(lambda: any(event["event"] == "segment" for event in events(tmp_path / "ray")), killed)
    wait_for(lambda: kill_one(busy_workers(killed.pid)), killed)
    out, err = killed.communicate(timeout=240)
    assert (killed.returncode, err) == (0, "")
    assert "proof: 0 of 4 configurations over budget" in out
    assert not [event for event in events(tmp_path / "ray") if event["event"] == "failed"]
    ray, inline = scores(tmp_path / "ray"), scores(tmp_path / "inline")
    shared = ray.keys() & inline.keys()
    assert {number for number, _ in shared} == set(range(4))
    assert all(ray[key] == pytest.approx(inline[key], abs=0.011) for key in shared)
    assert list((tmp_path / "ray" / "ray" / "segments").glob("segment-*/result.json")), (
        "Tune's own results are on disk"
    )
