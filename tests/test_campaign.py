"""A share of the campaign: the rest is run by hand, its report is reports/trust.md."""

import json
import random
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]


@pytest.mark.slow
def test_a_share_of_the_campaign():
    """A killed search that goes on is the undisturbed one; `script` says what else is a fault."""
    command = [sys.executable, str(ROOT / "scripts" / "campaign.py"), "inputs=6", "kills=1"]
    done = subprocess.run(
        [*command, "--seed", "7"],
        capture_output=True, text=True, cwd=ROOT, timeout=600,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    rows = [line.split(" | ") for line in done.stdout.splitlines() if line.startswith("| ")]
    assert [(row[0].split(",")[0], *row[1:3]) for row in rows[1:]] == [
        ("| inputs", "6", "0"),
        ("| kills", "1", "0"),
    ], done.stdout
    assert "of the driver at a moment 1" in rows[2][0]


@pytest.fixture
def script(monkeypatch):
    monkeypatch.syspath_prepend(str(ROOT / "scripts"))
    return pytest.importorskip("campaign")


def test_an_ending_that_is_none_of_ours_is_a_fault(script):
    said = "Traceback (most recent call last):\n  ...\nKeyError: 'x'\n"
    assert script.Outcome(1, said).fault == "traceback: KeyError: 'x'"
    assert script.Outcome(1, "").fault == "exit code 1"
    assert script.Outcome(None, "").fault.startswith("still running")
    assert [script.Outcome(code, "").fault for code in (0, 2, 3, 4, 130, 143)] == [None] * 6


def test_what_is_spoilt_is_not_what_it_was(script, tmp_path):
    path = tmp_path / "run.json"
    for seed in range(50):
        path.write_text(before := json.dumps({"a": {"b": [1, "x"]}, "c": 0.25}))
        assert script.spoil(path, random.Random(seed), tmp_path / "canary")
        assert path.read_bytes() != before.encode()
