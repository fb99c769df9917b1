"""Where the command prints: full, closed, or read by nobody any more."""

import os
import subprocess
import sys

import pytest

from tenslora_search import display

from .test_display import PROGRESS

COMMAND = f"{sys.executable} -m tenslora_search list methods"


@pytest.mark.parametrize(
    ("shell", "code", "said"),
    [
        (f"{COMMAND} | head -1 >/dev/null; exit ${{PIPESTATUS[0]}}", 0, ""),
        (f"{COMMAND} >/dev/full", 2, "tenslora-search: cannot write: No space left on device.\n"),
        (f"{COMMAND} >&-", 0, ""),
        (f"{COMMAND} <&- >/dev/null 2>&-", 0, ""),
        (f"{COMMAND.replace('-m', '-OO -m', 1)} >/dev/null", 0, ""),
    ],
    ids=["no reader", "full", "closed", "all closed", "no docstrings"],
)
def test_what_becomes_of_the_output(shell, code, said):
    done = subprocess.run(["bash", "-c", shell], capture_output=True, text=True)
    assert (done.returncode, done.stderr) == (code, said)


def test_a_search_goes_on_where_nobody_reads_it_any_more(monkeypatch):
    reader, writer = os.pipe()
    os.close(reader)
    with os.fdopen(writer, "w") as stdout:
        monkeypatch.setattr(sys, "stdout", stdout)
        with display.plain() as show:
            show(PROGRESS)
            print("so it goes on", flush=True)
