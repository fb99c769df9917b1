"""A search with Ray, as users start it, through what happens to it on a cluster: kill -9 of a
worker in mid-segment, then SIGTERM to all of its group.
"""

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


def lost(folder: Path) -> set[str]:
    """Segments whose worker was lost, by what Tune wrote of it."""
    return {path.parent.name for path in folder.glob("ray/segments/segment-*/error.txt")}


def back(folder: Path) -> set[str]:
    return {event["id"] for event in events(folder) if event["event"] == "segment"}


def test_a_killed_segment_runs_again_and_a_preempted_job_goes_on(start, here, tmp_path):
    """SIGTERM as Slurm and `docker stop` send it. It goes on in this process: who runs segments is
    no part of the question. Whatever happened, trials score as in an undisturbed search.
    """
    folder = tmp_path / "ray"
    asked = [*SMALL, "--max-steps", "36", "--pack", "2", "--retest", "0"]
    assert here(*asked, "--executor", "inline", "--out", str(tmp_path / "inline"))[0] == 0
    running = start(*asked, "--executor", "ray", "--out", str(folder))
    wait_for(lambda: kill_one(busy_workers(running.pid)), running)
    wait_for(lambda: bool(lost(folder)), running)
    (killed,) = lost(folder)
    wait_for(lambda: any(killed.startswith(f"{one}-") for one in back(folder)), running)
    os.killpg(running.pid, signal.SIGTERM)
    out, err = running.communicate(timeout=120)
    assert (running.returncode, err) == (128 + signal.SIGTERM, "")
    assert "report:" in out
    assert "proof: 0 of 6 configurations over budget" in out
    assert (folder / "report.html").is_file()
    assert not list(folder.glob(".segment-*"))
    assert not list(folder.glob("study.journal.lock*"))
    assert list(folder.glob("ray/segments/segment-*/result.json")), "Tune's own results are on disk"
    assert not [event for event in events(folder) if event["event"] == "failed"]
    before = scores(folder)
    assert here(*asked, "--out", str(folder), "--executor", "inline")[0] == 0
    found, expected = scores(folder), scores(tmp_path / "inline")
    assert before.items() < found.items()
    assert len([event for event in events(folder) if event["event"] == "proposed"]) == 6
    shared = found.keys() & expected.keys()
    assert {number for number, _ in shared} == set(range(6))
    assert all(found[key] == pytest.approx(expected[key], abs=0.011) for key in shared)
