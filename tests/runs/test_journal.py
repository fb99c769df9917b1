"""trials.jsonl: what was appended is there again; what a crash cut short is not; what cannot be
read says so in one line.
"""

import errno
import os
import stat

import pytest

from tenslora_search.runs.events import (
    JOURNAL_VERSION,
    Complete,
    Opened,
    Paused,
    Rung,
    read_events,
)
from tenslora_search.runs.journal import Journal
from tenslora_search.spec.table import QuestionError

EVENTS = [
    Opened(JOURNAL_VERSION),
    Rung(3, 9, 0.5),
    Paused(3, 9),
]


@pytest.fixture
def journal(tmp_path) -> Journal:
    journal = Journal(tmp_path / "trials.jsonl")
    journal.append(*EVENTS)
    return journal


def test_what_was_appended_is_read(journal):
    assert read_events(journal.path) == EVENTS
    journal.append(Complete(3, 9, 0.5))
    assert read_events(journal.path)[-1] == Complete(3, 9, 0.5)


def test_no_file_is_no_events(tmp_path):
    assert read_events(tmp_path / "none.jsonl") == []


@pytest.mark.parametrize("cut", range(1, 30))
def test_a_half_written_last_line_is_taken_off(journal, cut):
    whole = journal.path.read_bytes()
    journal.path.write_bytes(whole[:-cut])
    torn = journal.path.read_bytes()
    kept = read_events(journal.path)
    assert kept == EVENTS[: len(kept)]
    assert journal.path.read_bytes() == torn, "who reads does not write: a search may be at it"
    journal = Journal(journal.path)
    assert len(kept) == 2 if cut < len(whole.splitlines(keepends=True)[-1]) else len(kept) < 3
    journal.append(EVENTS[-1])
    assert read_events(journal.path) == [*kept, EVENTS[-1]]


def test_a_broken_line_in_the_middle_is_named(journal):
    lines = journal.path.read_text().splitlines()
    journal.path.write_text("\n".join([lines[0], lines[1][:9], lines[2]]) + "\n")
    with pytest.raises(QuestionError, match=r"line 2 is no event"):
        read_events(journal.path)


def test_a_newer_version_is_refused(journal):
    journal.append(Opened(JOURNAL_VERSION + 1))
    with pytest.raises(QuestionError, match="newer tenslora-search"):
        read_events(journal.path)


def test_nan_is_no_json(journal):
    with pytest.raises(ValueError, match="JSON"):
        journal.append(Rung(3, 9, float("nan")))
    assert read_events(journal.path) == EVENTS


def test_a_full_disk_keeps_what_was_there(journal, monkeypatch):
    def full(descriptor):
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(QuestionError, match="No space left on device"):
        journal.append(Complete(3, 9, 0.5))
    monkeypatch.undo()
    assert read_events(journal.path) == EVENTS


def test_an_unwritable_place_is_one_line(tmp_path):
    path = tmp_path / "folder-instead-of-file"
    path.mkdir(mode=stat.S_IRWXU)
    with pytest.raises(QuestionError, match="cannot open"):
        Journal(path).append(EVENTS[0])
