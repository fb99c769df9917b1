"""A share of the campaign: the rest is run by hand, its report is reports/trust.md."""

import json
import os
import random
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]


SHARE = ("inputs --n 15", "kills --n 2")
IN_ONE_PROCESS = """
import campaign, sys
for line in sys.argv[1:]:
    sys.argv = ["campaign.py", *line.split(), "--seed", "7"]
    campaign.main()
"""


@pytest.mark.slow
def test_a_share_of_the_campaign():
    """A killed search that goes on is the undisturbed one; `script` says what else is a fault."""
    done = subprocess.run(
        [sys.executable, "-c", IN_ONE_PROCESS, *SHARE],
        capture_output=True, text=True, timeout=600,
        env={**os.environ, "PYTHONPATH": f"{ROOT / 'scripts'}:{ROOT}"},
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    assert "Malformed inputs: 0 of 15 cases failed" in done.stdout
    assert "Kills, inline: 0 of 2 cases failed" in done.stdout
    assert "- of the driver at a moment: 1" in done.stdout


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
