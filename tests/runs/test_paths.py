"""Nothing outside a run folder is read, written or deleted."""

import pytest

from tenslora_search.runs.folder import run_folder
from tenslora_search.runs.paths import OURS, inside
from tenslora_search.runs.question import Question
from tenslora_search.runs.run_file import RunFile
from tenslora_search.spec.table import QuestionError


@pytest.mark.parametrize("name", ["/etc/passwd", "../x", "states/../../x", "..", "a\0b"])
def test_a_name_that_leads_out_is_refused(tmp_path, name):
    with pytest.raises(QuestionError, match="leads out of the run folder"):
        inside(tmp_path, name)


def test_a_link_that_leads_out_is_refused(tmp_path):
    folder, outside = tmp_path / "run", tmp_path / "outside"
    folder.mkdir()
    outside.mkdir()
    (folder / "states").symlink_to(outside)
    with pytest.raises(QuestionError, match="leads out of the run folder"):
        inside(folder, "states/0-3.safetensors")
    (folder / "circle").symlink_to(folder / "circle")
    with pytest.raises(QuestionError):
        inside(folder, "circle")


def test_what_lies_inside_may_be_linked_to(tmp_path):
    (tmp_path / "kept").mkdir()
    (tmp_path / "states").symlink_to("kept")
    assert inside(tmp_path, "states/0").parent.resolve() == (tmp_path / "kept").resolve()


@pytest.mark.parametrize(
    ("name", "force"), [(".lock", True), *((name, False) for name in (*OURS, ".lock"))]
)
def test_a_folder_whose_parts_lie_elsewhere_is_neither_read_nor_cleared(folder, name, force):
    outside = folder.parent / "outside"
    (folder / name).unlink(missing_ok=True)
    (folder / name).symlink_to(outside)
    question = Question.of(budget="4k", task="digits")
    with (
        pytest.raises(QuestionError, match="leads out of the run folder"),
        run_folder(folder, question, force=force),
    ):
        pass
    with pytest.raises(QuestionError, match="leads out of the run folder"):
        RunFile.read(folder)
    assert not outside.exists()
    assert (folder / name).is_symlink()


@pytest.mark.parametrize("name", OURS)
def test_force_takes_a_link_away_and_not_what_it_leads_to(folder, name):
    outside = folder.parent / "outside"
    outside.write_text("years of work")
    (folder / name).unlink(missing_ok=True)
    (folder / name).symlink_to(outside)
    with run_folder(folder, Question.of(budget="4k", task="digits"), force=True) as make_ready:
        make_ready()
        assert not (folder / name).is_symlink()
    assert outside.read_text() == "years of work"
