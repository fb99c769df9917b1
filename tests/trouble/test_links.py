"""Links where a command writes or deletes: what they lead to stays as it is, and what is refused is
refused in one line.
"""

import os
import shutil
from pathlib import Path

import pytest

from tenslora_search.report.compare import compare
from tenslora_search.runs.folder import run_folder
from tenslora_search.runs.question import Question
from tenslora_search.runs.run_file import RunFile
from tenslora_search.spec.table import QuestionError

from .conftest import SMALL

ASKED = [*SMALL, "--executor", "inline"]
GOLDEN = Path(__file__).parents[1] / "golden" / "run"
QUESTION = Question.of(budget="4k", task="digits")


def tree(folder: Path) -> dict[str, bytes | str]:
    """All that lies under a folder: the content of files, the ends of links."""
    return {
        str(path.relative_to(folder)): str(path.readlink())
        if path.is_symlink()
        else path.read_bytes()
        if path.is_file()
        else "folder"
        for path in sorted(folder.rglob("*"))
    }


@pytest.fixture
def foreign(tmp_path) -> Path:
    """A folder of somebody's work, of names that runs and exports have too."""
    folder = tmp_path / "foreign"
    for name in ("thesis.tex", "adapters/3/README.md", "states/0-3.safetensors", "README.md"):
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_text("years of work")
    return folder


ENDS = {"nothing": "nowhere/at/all", "itself": "link", "a file": "foreign/thesis.tex",
        "a folder": "foreign", "its adapters": "foreign/adapters"}  # fmt: skip


@pytest.fixture
def link(request, tmp_path, foreign) -> Path:
    (tmp_path / "link").symlink_to(tmp_path / ENDS[request.param])
    return tmp_path / "link"


def refused(here, *arguments: str) -> str:
    code, out, err = here(*arguments)
    assert (code, out, err.count("\n")) == (2, "", 1)
    return err


@pytest.mark.parametrize("link", ENDS, indirect=True)
def test_a_link_where_a_folder_or_a_page_is_to_be_written(here, tmp_path, link):
    before = tree(tmp_path)
    for force in ([], ["--force"]):
        refused(here, *ASKED, "--out", str(link), *force)
    if link.readlink().name == "foreign":
        refused(here, *ASKED, "--out", str(link / "states"), "--force")
    refused(here, "export", str(GOLDEN), "--to", str(link))
    refused(here, "compare", str(GOLDEN), "--out", str(link))
    assert tree(tmp_path) == before


@pytest.mark.parametrize("end", ["foreign", "foreign/thesis.tex", "nowhere"])
@pytest.mark.parametrize("name", ["states/0-3.safetensors", "adapters/3", "adapters/.3.part",
                                  "ray/segments", "ray/segments/0-1/tuner.pkl"])  # fmt: skip
def test_a_link_within_a_run_folder(tmp_path, foreign, name, end):
    run, before = tmp_path / "run", tree(foreign)
    run.mkdir()
    for file in ("run.json", "trials.jsonl"):
        shutil.copy(GOLDEN / file, run)
    (run / name).parent.mkdir(parents=True)
    (run / name).symlink_to(tmp_path / end)
    with pytest.raises(QuestionError, match="leads out of the run folder"):
        RunFile.read(run)
    with (
        pytest.raises(QuestionError, match="leads out of the run folder"),
        run_folder(run, QUESTION, force=False),
    ):
        pass
    assert (run / name).is_symlink()
    with run_folder(run, QUESTION, force=True) as make_ready:
        make_ready()
    assert sorted(path.name for path in run.iterdir()) == [".lock", "states"]
    assert tree(foreign) == before
    assert not (tmp_path / "nowhere").exists()


@pytest.mark.parametrize("name", ["run.json", "trials.jsonl", "states/0-3.safetensors"])
def test_a_pipe_in_the_place_of_a_file(tmp_path, name):
    """To open one is to wait for whoever writes into it."""
    run = tmp_path / "run"
    (run / "states").mkdir(parents=True)
    for file in ("run.json", "trials.jsonl"):
        shutil.copy(GOLDEN / file, run)
    (run / name).unlink(missing_ok=True)
    os.mkfifo(run / name)
    with pytest.raises(QuestionError, match="is a pipe or a device"):
        RunFile.read(run)
    with pytest.raises(QuestionError, match="is a pipe or a device"):
        run_folder(run, QUESTION, force=False).__enter__()
    with run_folder(run, QUESTION, force=True) as make_ready:
        make_ready()
    assert not (run / name).exists()


@pytest.mark.parametrize("name", ["base", "README.md", ".part"])
def test_an_earlier_export_of_which_something_is_a_link(here, tmp_path, foreign, name):
    from tenslora_search.export.card import TAG

    to = tmp_path / "to"
    to.mkdir()
    (foreign / "README.md").write_text(f"---\ntags:\n- {TAG}\n---\n")
    shutil.copy(foreign / "README.md", to)
    (to / name).unlink(missing_ok=True)
    (to / name).symlink_to(foreign if name != "README.md" else foreign / name)
    before = tree(tmp_path)
    refused(here, "export", str(GOLDEN), "--to", str(to))
    assert tree(tmp_path) == before


@pytest.mark.parametrize(
    "held", [["adapters"], ["states", "trials.jsonl"], ["run.json", "adapters", "notes.md"]]
)
def test_force_deletes_nothing_of_a_folder_that_holds_no_run(here, foreign, held):
    """Other tools have a run.json, a folder of adapters or of states too."""
    for name in {"run.json", "trials.jsonl"} & {*held}:
        (foreign / name).write_text('{"id": 7}')
    for path in foreign.iterdir():
        if path.name not in held:
            shutil.rmtree(path) if path.is_dir() else path.unlink()
    before = tree(foreign)
    refused(here, *ASKED, "--out", str(foreign), "--force")
    assert tree(foreign) == before


def test_force_keeps_the_run_where_the_new_question_is_wrong(here, tmp_path):
    run = tmp_path / "run"
    shutil.copytree(GOLDEN, run)
    before = tree(run)
    (tmp_path / "own.csv").write_text("text,label\ngood,1\nfine,1\n")
    wrong = ["--data", str(tmp_path / "own.csv"), "--model", "digits-vit", "--budget", "20k"]
    refused(here, *wrong, "--executor", "inline", "--out", str(run), "--force")
    again = [*ASKED, "--out", str(run), "--force", "--warm-start", str(run)]
    assert "which --warm-start names" in refused(here, *again)
    assert tree(run).keys() - before.keys() <= {".lock"}
    assert {name: tree(run)[name] for name in before} == before


def test_a_page_takes_the_place_of_a_page_alone(tmp_path):
    page = tmp_path / "compare.html"
    for _ in range(2):
        compare([GOLDEN], page)
    page.write_text("years of work")
    with pytest.raises(QuestionError, match="no page of runs"):
        compare([GOLDEN], page)
    assert page.read_text() == "years of work"
