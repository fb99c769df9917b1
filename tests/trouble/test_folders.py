"""Run folders that cannot be used, or hold something else: one line, and nothing in them is
touched.
"""

import fcntl
import json
import os
import shutil
from pathlib import Path

import pytest

from tenslora_search import search
from tenslora_search.data.sources import read_local

from .conftest import SMALL, events

ASKED = [*SMALL, "--executor", "inline"]


@pytest.fixture(scope="module")
def whole(tmp_path_factory):
    """A finished run of the small question."""
    folder = tmp_path_factory.mktemp("whole") / "run"
    small = {"trials": 6, "max_steps": 18, "batch_size": 16, "retest": 1, "cut": False}
    run = search("digits", budget="6k", **small, executor="inline", out=folder)
    return run.folder


@pytest.fixture
def finished(whole, tmp_path):
    return shutil.copytree(whole, tmp_path / "run")


def refused(here, *arguments: str) -> str:
    code, out, err = here(*arguments)
    assert code == 2
    assert out == ""
    assert err.count("\n") == 1
    return err


def proposed(folder: Path) -> list[int]:
    return [event["number"] for event in events(folder) if event["event"] == "proposed"]


def test_a_half_written_last_line_is_mended_and_nothing_is_run_again(here, finished):
    path = finished / "trials.jsonl"
    whole = path.read_bytes()
    path.write_bytes(whole + b'{"event":"rung","number":1,"st')
    code, out, _ = here(*ASKED, "--out", str(finished))
    assert code == 0
    assert "report:" in out
    assert path.read_bytes() == whole


def test_an_emptied_journal_is_not_begun_again(here, finished):
    (finished / "trials.jsonl").write_text('{"event":"journal","version":1}\n')
    before = (finished / "report.html").read_bytes()
    assert "put trials.jsonl back" in refused(here, *ASKED, "--out", str(finished))
    assert (finished / "report.html").read_bytes() == before


def test_a_crash_before_the_last_events_is_made_good(here, finished):
    path, expected = finished / "trials.jsonl", proposed(finished)
    lines = path.read_bytes().splitlines(keepends=True)
    last_rung = max(k for k, line in enumerate(lines) if b'"rung"' in line)
    path.write_bytes(b"".join(lines[: last_rung + 1]))
    assert here(*ASKED, "--out", str(finished))[0] == 0
    states = {
        event["number"]: event["event"]
        for event in events(finished)
        if event["event"] in ("paused", "complete")
    }
    assert sorted(states) == proposed(finished) == expected


def test_labels_of_another_task_in_the_run_file(here, finished, tmp_path):
    path = finished / "run.json"
    said = json.loads(path.read_text())
    said["labels"] = said["labels"][:-1]
    path.write_text(json.dumps(said))
    before = events(finished)
    assert "is damaged: labels" in refused(here, *ASKED, "--out", str(finished))
    assert events(finished) == before
    to = ["--pick", "best", "--format", "native", "--to", str(tmp_path / "to")]
    assert "the task head in" in refused(here, "export", str(finished), *to)


def test_a_damaged_line_in_the_middle(here, finished):
    path = finished / "trials.jsonl"
    lines = path.read_bytes().splitlines(keepends=True)
    path.write_bytes(b"".join([*lines[:3], b"garbage\n", *lines[4:]]))
    assert "line 4 is no event" in refused(here, *ASKED, "--out", str(finished))


@pytest.mark.parametrize("file", ["run.json", "trials.jsonl"])
def test_a_newer_version(here, finished, file):
    path = finished / file
    if file == "run.json":
        path.write_text(json.dumps({**json.loads(path.read_text()), "version": 99}))
    else:
        path.write_bytes(path.read_bytes() + b'{"event":"journal","version":99}\n')
    for arguments in (
        [*ASKED, "--out", str(finished)],
        ["report", str(finished)],
        ["compare", str(finished)],
    ):
        assert "newer tenslora-search" in refused(here, *arguments)


def test_another_question(here, finished):
    before = (finished / "trials.jsonl").read_bytes()
    line = refused(here, *ASKED, "--seed", "7", "--out", str(finished))
    assert "seed was 0, now 7" in line
    assert (finished / "trials.jsonl").read_bytes() == before


def test_a_folder_that_cannot_be_made(here, tmp_path):
    (tmp_path / "file").write_text("")
    for place in ("file", "file/run", "n" * 5000):
        assert "cannot write " in refused(here, *ASKED, "--out", str(tmp_path / place))


def test_a_folder_of_something_else(here, tmp_path):
    (tmp_path / "thesis.tex").write_text("years of work")
    assert "thesis.tex" in refused(here, *ASKED, "--out", str(tmp_path))
    refused(here, *ASKED, "--out", str(tmp_path), "--force")
    assert (tmp_path / "thesis.tex").read_text() == "years of work"


def test_force_deletes_the_run_and_nothing_else(here, finished, tmp_path):
    mine = [finished / name for name in ("notes.md", "mine/thesis.tex", ".git/config")]
    for path in mine:
        path.parent.mkdir(exist_ok=True)
        path.write_text("years of work")
    elsewhere = tmp_path / "elsewhere"
    (finished / "states").rename(elsewhere)
    (finished / "states").symlink_to(elsewhere)
    (finished / ".segment-old").mkdir()
    kept = sorted(elsewhere.iterdir())
    assert kept
    before = (finished / "trials.jsonl").read_bytes()
    assert here(*ASKED, "--seed", "7", "--out", str(finished), "--force")[0] == 0
    assert (finished / "trials.jsonl").read_bytes() != before
    assert all(path.read_text() == "years of work" for path in mine)
    assert sorted(elsewhere.iterdir()) == kept
    assert not (finished / "states").is_symlink()
    assert not (finished / ".segment-old").exists()


def test_a_lock_of_something_else_is_left_as_it_is(here, tmp_path):
    (tmp_path / ".lock").write_text("pid 17")
    (tmp_path / "thesis.tex").write_text("")
    refused(here, *ASKED, "--out", str(tmp_path))
    assert (tmp_path / ".lock").read_text() == "pid 17"


def test_a_file_where_a_folder_belongs(here, tmp_path):
    (tmp_path / "states").write_text("mine")
    assert "it holds states; choose another --out" in refused(here, *ASKED, "--out", str(tmp_path))
    assert (tmp_path / "states").read_text() == "mine"


def test_a_folder_in_use(here, finished):
    with (finished / ".lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        assert "another search runs in" in refused(here, *ASKED, "--out", str(finished))


def test_changed_data(here, tmp_path, finished):
    path = finished / "run.json"
    path.write_text(json.dumps({**json.loads(path.read_text()), "data_digest": "another"}))
    assert "data of" in refused(here, *ASKED, "--out", str(finished))


def test_changed_space(here, tmp_path):
    space, asked = (
        tmp_path / "narrow.toml",
        [*ASKED, "--space", str(tmp_path / "narrow.toml"), "--out", str(tmp_path / "run")],
    )
    space.write_text("learning_rate = { low = 1e-3, high = 1e-2 }\n")
    assert here(*asked, *"--trials 1 --max-steps 2 --retest 0".split())[0] == 0
    before = (tmp_path / "run" / "trials.jsonl").read_bytes()
    space.write_text("learning_rate = { low = 1e-5, high = 2e-5 }\n")
    assert "space narrow has changed since" in refused(here, *asked, "--max-steps", "2")
    assert (tmp_path / "run" / "trials.jsonl").read_bytes() == before


def test_folders_whose_names_are_no_utf8(here, tmp_path):
    """As an archive from elsewhere leaves them: a run, its report, an export, data and a model."""
    folder = Path(os.fsdecode(os.fsencode(tmp_path) + b"/gr\xf6\xdfe"))
    folder.mkdir()
    rows = [f"good film {n},a\nbad film {n},b\n" for n in range(40)]
    (folder / "own.csv").write_text("text,label\n" + "".join(rows))
    run, small = str(folder / "run"), "--trials 2 --max-steps 6 --retest 0 --batch-size 16"
    asked = ["--budget", "6k", *small.split(), "--executor", "inline", "--task", "digits"]
    code, _, err = here(*asked, "--out", run, "--quiet")
    assert (code, err) == (0, "")
    code, _, err = here("export", run, "--to", str(folder / "adapter"), "--format", "native")
    assert (code, err) == (0, "")
    assert (folder / "adapter" / "README.md").is_file()
    code, _, err = here("report", run)
    assert (code, err) == (0, "")
    assert len(read_local(folder / "own.csv").frames["train"]) == 80


def test_a_folder_without_a_run_is_no_run_folder_whatever_else_lies_in_it(here, tmp_path):
    """Such as Ray's sockets in /tmp."""
    (tmp_path / "ray").mkdir()
    os.mkfifo(tmp_path / "ray" / "store")
    assert "is no run folder: run.json is missing" in refused(here, "report", str(tmp_path))
