"""The command line as users run it: in a process of its own that can be killed, or, where nothing
dies, in this one.
"""

import json
import os
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Callable
from pathlib import Path

import pytest

SMALL = [
    "--budget",
    "6k",
    "--task",
    "digits",
    "--trials",
    "6",
    "--max-steps",
    "18",
    "--batch-size",
    "16",
    "--no-cut",
    "--retest",
    "1",
]


@pytest.fixture(scope="session")
def environment(tmp_path_factory) -> dict[str, str]:
    """One cache for all, one thread a process."""
    cache = os.environ.get("TENSLORA_CACHE") or str(tmp_path_factory.mktemp("cache"))
    return {**os.environ, "TENSLORA_CACHE": cache, "OMP_NUM_THREADS": "1", "HF_HUB_OFFLINE": "1"}


@pytest.fixture
def start(environment):
    """Starts the command in a process group of its own; whatever is left of it is killed at the
    end.
    """
    started: list[subprocess.Popen] = []

    def run(*arguments: str) -> subprocess.Popen:
        command = [sys.executable, "-m", "tenslora_search", *arguments]
        pipe = subprocess.PIPE
        process = subprocess.Popen(
            command, env=environment, stdout=pipe, stderr=pipe, text=True, start_new_session=True
        )
        started.append(process)
        return process

    yield run
    for process in started:
        if process.poll() is None:
            os.killpg(process.pid, 9)
        process.communicate()


@pytest.fixture
def command(start) -> Callable[..., tuple[int, str, str]]:
    """Runs the command to its end: exit code, stdout, stderr."""

    def run(*arguments: str) -> tuple[int, str, str]:
        process = start(*arguments)
        out, err = process.communicate(timeout=240)
        return process.returncode, out, err

    return run


@pytest.fixture
def here(environment, monkeypatch, capsys) -> Callable[..., tuple[int, str, str]]:
    """Runs the command in this process: exit code, stdout, stderr."""
    from tenslora_search import cli

    monkeypatch.setenv("TENSLORA_CACHE", environment["TENSLORA_CACHE"])

    def run(*arguments: str) -> tuple[int, str, str]:
        monkeypatch.setattr(sys, "argv", ["tenslora-search", *arguments])
        with pytest.raises(SystemExit) as end:
            cli.main()
        captured = capsys.readouterr()
        return int(end.value.code or 0), captured.out, captured.err

    return run


def events(folder: Path) -> list[dict]:
    path = folder / "trials.jsonl"
    return (
        [
            json.loads(line)
            for line in path.read_text().splitlines(keepends=True)
            if line.endswith("\n")
        ]
        if path.exists()
        else []
    )


def scores(folder: Path) -> dict[tuple[int, int], float]:
    """Select score by (trial, step); asserts that nothing was run twice."""
    rungs = [event for event in events(folder) if event["event"] == "rung"]
    twice = [
        key
        for key, n in Counter((event["number"], event["step"]) for event in rungs).items()
        if n > 1
    ]
    assert not twice
    return {(event["number"], event["step"]): event["score"] for event in rungs}


def wait_for(what: Callable[[], bool], process: subprocess.Popen, seconds: float = 120) -> None:
    deadline = time.monotonic() + seconds
    while not what():
        if process.poll() is not None:
            raise AssertionError(f"the command ended too early: {process.communicate()}")
        if time.monotonic() > deadline:
            raise AssertionError("it did not happen in time")
        time.sleep(0.02)
