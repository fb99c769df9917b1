"""What users' folders and files hold besides what was meant: read as the libraries they know read
it, or one line that names the place.
"""

import io
import json
import os
from pathlib import Path

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from PIL import Image

from tenslora_search.data.processors import load_processor
from tenslora_search.data.sources import read_local
from tenslora_search.data.task import load_task
from tenslora_search.hub.images import ImageProcessor
from tenslora_search.spec.table import QuestionError

ROWS = pd.DataFrame({"text": [f"text {n}" for n in range(60)], "label": [n % 2 for n in range(60)]})


def write(path: Path) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    ROWS.to_csv(path, index=False)


def one_line(error) -> str:
    text = str(error.value)
    assert "\n" not in text
    assert len(text) < 700
    return text


@pytest.mark.parametrize(
    "beside",
    ["._train.csv", ".hidden.csv", "~$train.csv", "dataset_infos.json", "dataset_info.json"],
)
def test_what_lies_beside_the_data_is_not_read(tmp_path, beside):
    (tmp_path / beside).write_bytes(b"\x00\x05\x16\x07")
    write(tmp_path / "reviews.csv")
    assert len(read_local(tmp_path).frames["train"]) == 60
    (tmp_path / "reviews.csv").rename(tmp_path / "train.csv")
    assert len(read_local(tmp_path).frames["train"]) == 60


def test_a_snapshot_of_the_hub(tmp_path):
    (tmp_path / "dataset_infos.json").write_text(json.dumps({"default": {"splits": {}}}))
    write(tmp_path / "data" / "train.csv")
    assert len(read_local(tmp_path).frames["train"]) == 60


@pytest.mark.parametrize("one", [True, False])
def test_what_save_to_disk_has_written(tmp_path, one):
    import datasets

    labels = datasets.ClassLabel(names=["no", "yes"])
    rows = datasets.Dataset.from_dict(
        {"text": ROWS["text"].tolist(), "label": ROWS["label"].tolist()},
        features=datasets.Features({"text": datasets.Value("string"), "label": labels}),
    )
    found = rows if one else datasets.DatasetDict({"train": rows, "dev": rows})
    found.save_to_disk(str(tmp_path / "disk"))
    source = read_local(tmp_path / "disk")
    assert list(source.frames) == (["train"] if one else ["train", "validation"])
    assert source.frames["train"]["label"].tolist() == ROWS["label"].tolist()
    assert source.class_names == {"label": ("no", "yes")}


def test_save_to_disk_that_is_broken(tmp_path):
    (tmp_path / "dataset_dict.json").write_text("{")
    with pytest.raises(QuestionError, match="cannot read") as error:
        read_local(tmp_path)
    one_line(error)


def test_a_folder_a_link_and_a_pipe_with_a_data_file_s_name(tmp_path):
    (tmp_path / "train.csv").mkdir()
    with pytest.raises(QuestionError, match=r"train\.csv is a folder with a data file's name"):
        read_local(tmp_path)
    (tmp_path / "train.csv").rmdir()
    (tmp_path / "train.csv").symlink_to(tmp_path / "nowhere.csv")
    with pytest.raises(QuestionError, match=r"train\.csv is a link that leads nowhere"):
        read_local(tmp_path)
    (tmp_path / "train.csv").unlink()
    os.mkfifo(tmp_path / "train.csv")
    with pytest.raises(QuestionError, match=r"train\.csv is no regular file"):
        read_local(tmp_path)


@pytest.mark.parametrize("name", ["a\0b.csv", "a" * 5000, "a/" * 2500 + "b.csv"])
def test_a_path_that_no_disk_can_have(name):
    with pytest.raises(QuestionError, match="no such file or folder") as error:
        read_local(Path(name))
    one_line(error)


@pytest.mark.parametrize("name", ["a\0b.png", "a" * 5000, "b" * 5000 + ".png", "nowhere.png", "."])
def test_an_image_that_no_disk_can_have(tmp_path, name):
    images = [name if n == 7 else "x.png" for n in range(20)]
    Image.new("RGB", (8, 8)).save(tmp_path / "x.png")
    frame = pd.DataFrame({"image": images, "label": [n % 2 for n in range(20)]})
    frame.to_json(tmp_path / "train.jsonl", orient="records", lines=True)
    with pytest.raises(QuestionError, match=r"row 8 of train of .* names an image that") as error:
        load_task(data=tmp_path, model="digits-vit")
    one_line(error)


def test_half_a_character_is_replaced(tiny_bert, tmp_path):
    lines = [
        json.dumps({"text": f"text {n}" + "\ud83d" * (n == 7), "label": ["a", "b\ude00"][n % 2]})
        for n in range(60)
    ]
    (tmp_path / "own.jsonl").write_text("\n".join(lines))
    frame = read_local(tmp_path / "own.jsonl").frames["train"]
    assert frame["text"][7] == "text 7\ufffd"
    found = load_task(data=tmp_path / "own.jsonl", model=tiny_bert)
    assert found.goal.names == ("a", "b\ufffd")
    (tmp_path / "own.jsonl").write_text(json.dumps({"\ud83d": "whole \ud83d\ude00", "label": 1}))
    frame = read_local(tmp_path / "own.jsonl").frames["train"]
    assert frame.to_dict("list") == {"\ufffd": ["whole \N{GRINNING FACE}"], "label": [1]}


def test_class_names_that_are_numbers(tmp_path, tiny_bert):
    feature = {"_type": "ClassLabel", "names": [2019, 2020]}
    about = {"info": {"features": {"label": feature, "text": 3}}}
    table = pa.Table.from_pandas(ROWS).replace_schema_metadata({"huggingface": json.dumps(about)})
    pq.write_table(table, tmp_path / "train.parquet")
    assert load_task(data=tmp_path, model=tiny_bert).goal.names == ("2019", "2020")


@pytest.mark.parametrize("about", ["[]", "{", '{"info": []}', '{"info": {"features": 3}}', "\xff"])
def test_a_note_in_a_parquet_file_that_is_not_ours(tmp_path, about):
    table = pa.Table.from_pandas(ROWS).replace_schema_metadata({"huggingface": about})
    pq.write_table(table, tmp_path / "train.parquet")
    assert read_local(tmp_path).class_names == {}


def test_label_lists_of_a_parquet_file(tmp_path, tiny_bert):
    import datasets

    labels = datasets.List(datasets.ClassLabel(names=["joy", "anger", "fear"]))
    datasets.Dataset.from_dict(
        {
            "text": ROWS["text"].tolist(),
            "labels": [[n % 2, 2] if n % 3 else [0] for n in range(60)],
        },
        features=datasets.Features({"text": datasets.Value("string"), "labels": labels}),
    ).to_parquet(str(tmp_path / "train.parquet"))
    found = load_task(data=tmp_path, model=tiny_bert)
    assert (found.goal.name, found.goal.names) == ("labels", ("joy", "anger", "fear"))


def test_rows_without_a_label_are_named_and_may_be_left_out(tiny_bert, tmp_path, caplog):
    frame = ROWS.copy()
    frame["label"] = frame["label"].astype(object)
    frame.loc[[4, 9], "label"] = ""
    frame.to_csv(tmp_path / "own.csv", index=False)
    message = r"2 of 60 rows of train of .* \(row 5, 10\); fill them in, .* --drop-unlabelled"
    with pytest.raises(QuestionError, match=message):
        load_task(data=tmp_path / "own.csv", model=tiny_bert)
    found = load_task(data=tmp_path / "own.csv", model=tiny_bert, drop_unlabelled=True)
    assert sum(len(split) for split in (found.fit, found.select, found.report)) == 58
    assert "left out 2 of 60 rows of train" in caplog.text
    assert "row 5, 10" in caplog.text


def test_rows_keep_their_numbers_where_some_are_left_out(tmp_path):
    frame = pd.DataFrame({"image": ["no.png"] * 20, "label": [n % 2 for n in range(20)]})
    frame["label"] = frame["label"].astype(object)
    frame.loc[0, "label"] = None
    frame.to_csv(tmp_path / "own.csv", index=False)
    with pytest.raises(QuestionError, match=r"row 2 of train of .* names an image"):
        load_task(data=tmp_path / "own.csv", model="digits-vit", drop_unlabelled=True)


@pytest.mark.parametrize("orientation", range(1, 9))
@pytest.mark.parametrize(("kind", "mode"), [("JPEG", "RGB"), ("PNG", "L"), ("TIFF", "I;16")])
def test_a_picture_is_read_upright_as_transformers_reads_it(tmp_path, orientation, kind, mode):
    from transformers.image_utils import load_image

    values = np.arange(24 * 40, dtype=np.uint16).reshape(24, 40) % 251
    picture = Image.fromarray(values * 257 if mode == "I;16" else values.astype(np.uint8))
    exif = Image.Exif()
    exif[0x0112] = orientation
    path = tmp_path / f"picture.{kind.lower()}"
    (picture if mode == "I;16" else picture.convert(mode)).save(path, exif=exif)
    processor = ImageProcessor(height=12, width=16)
    found = processor.pixels([path.read_bytes()], names=["x"])
    upright = io.BytesIO()
    if mode == "I;16":
        from PIL import ImageOps

        whole = Image.fromarray(values.astype(np.uint8))
        turned = whole.copy()
        turned.getexif()[0x0112] = orientation
        ImageOps.exif_transpose(turned).convert("RGB").save(upright, "PNG")
    else:
        load_image(str(path)).convert("RGB").save(upright, "PNG")
    expected = processor.pixels([upright.getvalue()], names=["x"])
    np.testing.assert_array_equal(found.numpy(), expected.numpy())


def test_a_picture_of_too_many_pixels(recwarn):
    buffer = io.BytesIO()
    Image.new("1", (13_000, 13_000)).save(buffer, "PNG")
    with pytest.raises(QuestionError, match=r"row 3 of x holds an image of more than") as error:
        ImageProcessor(8, 8).pixels([buffer.getvalue()], names=["row 3 of x"])
    one_line(error)
    assert not [one for one in recwarn if "Decompression" in str(one.category)]


def test_a_preprocessor_s_numbers_of_another_kind(tiny_vit, tmp_path):
    import shutil

    folder = Path(shutil.copytree(tiny_vit, tmp_path / "vit"))
    for size in ("large", [1], {"height": "a"}, -3):
        (folder / "preprocessor_config.json").write_text(json.dumps({"size": size}))
        with pytest.raises(
            QuestionError, match=r"cannot load model|asks for images of -3 x -3"
        ) as error:
            load_processor(str(folder))
        one_line(error)
