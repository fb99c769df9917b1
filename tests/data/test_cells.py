"""Cells of a size that nothing reads, and cells that hold nothing: alike in every form of file,
told by row and column.
"""

import io
import math
from pathlib import Path

import pandas as pd
import pytest
from PIL import Image, PngImagePlugin

from tenslora_search.data import cells
from tenslora_search.data.labels import MOST_LABEL
from tenslora_search.data.near import near_groups
from tenslora_search.data.readers import read_tsv
from tenslora_search.data.task import load_task
from tenslora_search.hub.images import ImageProcessor
from tenslora_search.spec.table import QuestionError

FORMS = ("csv", "tsv", "jsonl", "json", "parquet")


def written(folder: Path, form: str, columns: dict[str, list]) -> Path:
    """Rows as users' tools write them."""
    frame, path = pd.DataFrame(columns), folder / f"own.{form}"
    if form == "parquet":
        frame.to_parquet(path)
    elif form.startswith("json"):
        frame.to_json(path, orient="records", lines=form == "jsonl")
    else:
        frame.to_csv(path, index=False, sep="," if form == "csv" else "\t")
    return path


def columns(**changed: object) -> dict[str, list]:
    """30 rows, the fifth of them changed."""
    found = {"text": [f"text {n}" for n in range(30)], "label": ["a", "b"] * 15}
    return {name: [*one[:4], changed.get(name, one[4]), *one[5:]] for name, one in found.items()}


@pytest.mark.parametrize("form", FORMS)
def test_a_text_or_a_label_that_is_too_long(tmp_path, tiny_bert, monkeypatch, form):
    monkeypatch.setattr(cells, "MOST_CHARACTERS", 200_000)
    path = written(tmp_path, form, columns(text="a b\n" * 50_001))
    found = r"row 5 of train of .* has a text of 200,004 characters in column 'text'; at most 200,0"
    with pytest.raises(QuestionError, match=found):
        load_task(data=path, model=tiny_bert)
    path = written(tmp_path, form, columns(label="c" * (MOST_LABEL + 1)))
    found = r"row 5 of train of .* has 10,001 characters in column 'label'; is it the label\?"
    with pytest.raises(QuestionError, match=found):
        load_task(data=path, model=tiny_bert)


@pytest.mark.parametrize("goal", ["next_token", None])
def test_a_text_to_be_written_that_is_too_long(tmp_path, tiny_gpt, monkeypatch, goal):
    monkeypatch.setattr(cells, "MOST_CHARACTERS", 10)
    names = ("text", "label") if goal else ("prompt", "completion")
    texts = dict(zip(names, columns(text="more than ten", label="more").values(), strict=True))
    path = written(tmp_path, "jsonl", texts)
    found = rf"row 5 of train of .* has a text of 13 characters in column '{names[0]}'"
    with pytest.raises(QuestionError, match=found):
        load_task(data=path, model=tiny_gpt, goal=goal)


@pytest.mark.parametrize("form", FORMS)
@pytest.mark.parametrize("nothing", ["", " ", None, math.nan])
def test_a_cell_that_holds_nothing(tmp_path, tiny_bert, caplog, form, nothing):
    path = written(tmp_path, form, columns(label=nothing))
    found = r"1 of 30 rows of train of .* have no label in column 'label' \(row 5\); .*--drop-unlab"
    with pytest.raises(QuestionError, match=found):
        load_task(data=path, model=tiny_bert)
    load_task(data=path, model=tiny_bert, drop_unlabelled=True)
    assert "left out 1 of 30 rows of train" in caplog.text
    caplog.clear()
    path = written(tmp_path, form, columns(text=nothing))
    load_task(data=path, model=tiny_bert)
    assert "1 of 30 rows of train of" in caplog.text
    assert "have no text in column 'text' (row 5); they are read as empty texts" in caplog.text
    path = written(tmp_path, form, {**columns(), "text": [nothing] * 30})
    with pytest.raises(QuestionError, match=r"no row of train of .* has text in column 'text'"):
        load_task(data=path, model=tiny_bert, columns={"text": "text"})


@pytest.mark.parametrize("form", FORMS)
def test_numbers_some_of_which_are_missing(tmp_path, tiny_bert, form):
    scores = [n / 4 for n in range(30)]
    path = written(tmp_path, form, {**columns(), "label": [*scores[:4], None, *scores[5:]]})
    with pytest.raises(QuestionError, match=r"have no label in column 'label' \(row 5\)"):
        load_task(data=path, model=tiny_bert)
    found = load_task(data=path, model=tiny_bert, drop_unlabelled=True)
    assert found.goal.name == "numbers"


def picture(size: tuple[int, int], **notes: object) -> bytes:
    buffer = io.BytesIO()
    Image.new("1", size).save(buffer, "PNG", **notes)
    return buffer.getvalue()


def test_pictures_that_are_too_large_are_told_of_in_one_line(tmp_path, recwarn, monkeypatch):
    """By pixels: 170 and 400 millions; by bytes; by a note that unpacks to too much."""
    good = [picture((8, 8 + n)) for n in range(20)]
    note = PngImagePlugin.PngInfo()
    note.add_text("Comment", "a" * 70_000_000, zip=True)
    for wrong, said in [
        (picture((13_000, 13_000)), "holds an image of more than 89,478,485 pixels"),
        (picture((20_000, 20_000)), "holds an image of more than 89,478,485 pixels"),
        (picture((8, 8), pnginfo=note), "holds no image that Pillow can read"),
    ]:
        frame = {"image": [*good[:6], wrong, *good[6:]], "label": [n % 2 for n in range(21)]}
        path = written(tmp_path, "parquet", frame)
        with pytest.raises(QuestionError, match=rf"row 7 of train of .* {said}"):
            load_task(data=path, model="digits-vit", cache=tmp_path / "cache")
        near_groups([frame["image"]], pd.Series(range(21)).to_numpy())
    monkeypatch.setattr(cells, "MOST_IMAGE_BYTES", len(good[0]) - 1)
    with pytest.raises(QuestionError, match=r"row 1 of train of .* has an image of \d+ bytes"):
        load_task(data=path, model="digits-vit")
    assert [one for one in recwarn if "PIL" in str(one.filename)] == []


def test_broken_notes_of_a_picture_are_no_warning(recwarn):
    buffer = io.BytesIO()
    Image.new("P", (8, 8)).save(buffer, "PNG", transparency=bytes(8))
    broken = b"II*\x00\x08\x00\x00\x00\x05\x00" + b"\xff" * 20  # EXIF that ends too early
    other = io.BytesIO()
    Image.new("RGB", (8, 8)).save(other, "JPEG", exif=b"Exif\x00\x00" + broken)
    ImageProcessor(8, 8).pixels([buffer.getvalue(), other.getvalue()], names=["x", "y"])
    assert list(recwarn) == []


def test_a_text_of_several_lines_in_a_tsv(tmp_path):
    """As pandas writes it, with stray quotes in other cells as GLUE's files have them."""
    texts = ["one", 'a "word"\nand\tmore', '6" of snow', "last"]
    path = written(tmp_path, "tsv", {"text": texts, "label": ["a", "b", "a", "b"]})
    assert read_tsv(path)[0]["text"].tolist() == texts
    path.write_text('text\tlabel\n"one\ta\ntwo\n', encoding="utf-8")  # no closing quote
    assert read_tsv(path)[0]["text"].tolist() == ['"one', "two"]
