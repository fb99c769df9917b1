"""A disk that is full: one line that names the file; with room again the same command goes on."""

import resource
import signal
import subprocess
import sys

import pytest

from .conftest import SMALL, scores

pytestmark = pytest.mark.slow


@pytest.fixture
def digits_cached(here, tmp_path) -> None:
    """The model of digits is in the cache, whose files may be larger than the limit."""
    small = ["--trials", "1", "--max-steps", "1", "--retest", "0", "--executor", "inline"]
    assert here(*SMALL, *small, "--out", str(tmp_path / "warm"))[0] == 0


@pytest.mark.parametrize("largest", [3_000, 12_000], ids=["the journal", "the states"])
def test_a_write_that_fails(here, environment, digits_cached, tmp_path, largest):
    """Files may grow to `largest` bytes only, which fails a write as a full disk does."""

    def limited() -> None:
        signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
        resource.setrlimit(resource.RLIMIT_FSIZE, (largest, largest))

    asked = [*SMALL, "--executor", "inline", "--out", str(tmp_path / "run")]
    line = [sys.executable, "-m", "tenslora_search.cli", *asked]
    done = subprocess.run(
        line, env=environment, capture_output=True, text=True, preexec_fn=limited, check=False
    )
    assert done.returncode == 2
    assert done.stderr.startswith("tenslora-search: cannot write")
    assert done.stderr.count("\n") == 1
    assert str(tmp_path / "run") in done.stderr
    assert here(*asked)[0] == 0
    assert {number for number, _ in scores(tmp_path / "run")} == set(range(6))
    assert not list((tmp_path / "run").glob(".segment-*"))
