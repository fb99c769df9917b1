"""A user's own files: every kind is read alike, splits are found by name, and what is wrong with a
file is one line.
"""

import pandas as pd
import pytest

from tenslora_search.data.sources import MAKERS, READERS, read_local
from tenslora_search.spec.table import QuestionError
from tenslora_search.spec.tasks import TASKS

ROWS = pd.DataFrame(
    {
        "text": ['a "good" film', "bad, and long", "NA", "film\tfine"],
        "label": ["pos", "neg", "neg", "pos"],
    }
)


TABLES = [kind for kind in READERS if kind != "txt"]


def write(frame: pd.DataFrame, path) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    match path.suffix.lower():
        case ".parquet":
            frame.to_parquet(path)
        case ".jsonl" | ".json":
            frame.to_json(path, orient="records", lines=path.suffix == ".jsonl")
        case ".tsv":
            frame.to_csv(path, index=False, sep="\t")
        case _:
            frame.to_csv(path, index=False)


@pytest.mark.parametrize("kind", TABLES)
def test_a_file_of_every_kind_holds_the_same_rows(tmp_path, kind):
    path = tmp_path / f"mine.{kind}"
    write(ROWS, path)
    source = read_local(path)
    assert list(source.frames) == ["train"]
    assert source.frames["train"].to_dict("list") == ROWS.to_dict("list")


@pytest.mark.parametrize("kind", TABLES)
def test_splits_by_name(tmp_path, kind):
    for row, name in enumerate(("train", "VAL", "testing")):
        write(ROWS.iloc[row : row + 1], tmp_path / f"{name}.{kind}")
    frames = read_local(tmp_path).frames
    assert {split: frame["label"].tolist() for split, frame in frames.items()} == {
        "train": ["pos"],
        "validation": ["neg"],
        "test": ["neg"],
    }


@pytest.mark.parametrize("place", ["", "data/", "sst2/"])
def test_files_one_level_down(tmp_path, place):
    write(ROWS, tmp_path / f"{place}train.csv")
    write(ROWS, tmp_path / "elsewhere" / "train.csv")
    assert len(read_local(tmp_path, "sst2").frames["train"]) == 4


def test_shards_belong_together(tmp_path):
    for shard in range(3):
        write(ROWS.iloc[shard : shard + 1], tmp_path / f"train-{shard:05}-of-00003.parquet")
    write(ROWS, tmp_path / "test.parquet")
    assert read_local(tmp_path).frames["train"]["text"].tolist() == ROWS["text"].tolist()[:3]


def test_a_lone_file_is_train_and_others_beside_a_split_are_not_read(tmp_path):
    write(ROWS, tmp_path / "reviews.csv")
    assert list(read_local(tmp_path).frames) == ["train"]
    write(ROWS.iloc[:1], tmp_path / "train.csv")
    assert len(read_local(tmp_path).frames["train"]) == 1


def test_a_table_of_text_keeps_every_cell_as_it_is(tmp_path):
    path = tmp_path / "train.csv"
    path.write_bytes('\ufefftext, label\r\nNA,1\r\n"two\nlines",0\r\n007,1.0\r\n,0\r\n'.encode())
    frame = read_local(path).frames["train"]
    assert list(frame) == ["text", "label"]
    assert frame["text"].tolist() == ["NA", "two\nlines", "007", ""]
    assert frame["label"].tolist() == ["1", "0", "1.0", "0"]


def test_empty_cells_past_the_last_column_are_none(tmp_path):
    path = tmp_path / "train.csv"
    path.write_text("text,label\na,1,\nb,0\n,,\nc\n")
    frame = read_local(path).frames["train"]
    assert frame.fillna("none").to_dict("list") == {
        "text": ["a", "b", "c"],
        "label": ["1", "0", "none"],
    }


def test_a_column_without_a_name_is_called_by_its_place(tmp_path):
    (tmp_path / "train.csv").write_text(",text,label\n0,a,1\n")
    assert list(read_local(tmp_path).frames["train"]) == ["column 1", "text", "label"]


def test_a_cell_may_be_long(tmp_path):
    (tmp_path / "train.csv").write_text(f"text,label\n{'a' * 200_000},1\n")
    assert len(read_local(tmp_path).frames["train"]["text"][0]) == 200_000


def test_tabs_with_stray_quotes_and_with_proper_ones(tmp_path):
    path = tmp_path / "train.tsv"
    path.write_text('sentence\tlabel\n"so good\t1\nthe "best" film\t0\n')
    assert read_local(path).frames["train"]["sentence"].tolist() == ['"so good', 'the "best" film']
    path.write_text('sentence\tlabel\n"so ""good"""\t1\n"a\tb"\t0\n')
    assert read_local(path).frames["train"]["sentence"].tolist() == ['so "good"', "a\tb"]


@pytest.mark.parametrize(
    "text",
    [
        '[{"x": "a"},\n {"x": "b"}]',
        '{"version": 1, "data": [{"x": "a"}, {"x": "b"}]}',
        '{"x": "a"}\n{"x": "b"}\n',
    ],
)
def test_json_is_a_list_of_objects_or_one_a_line(tmp_path, text):
    (tmp_path / "train.json").write_text(text)
    assert read_local(tmp_path).frames["train"]["x"].tolist() == ["a", "b"]


IMAGES = {
    "by split": (
        ["train/cat/1.png", "train/dog/2.JPG", "Val/cat/3.png", "test/4.png"],
        {"train": 2, "validation": 1},
    ),
    "all of it train": (
        ["cat/1.png", "dog/2.jpeg", "dog/note.txt", "dog/._2.jpeg", ".trash/3.png"],
        {"train": 2},
    ),
    "classes named as splits": (["car/1.png", "train/2.png"], {"train": 2}),
    "one level down": (["data/train/cat/1.png", "data/train/dog/2.png"], {"train": 2}),
}


@pytest.mark.parametrize("name", list(IMAGES))
def test_images_in_a_folder_a_class(tmp_path, name):
    files, n_rows = IMAGES[name]
    for file in files:
        (tmp_path / file).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / file).write_bytes(b"")
    source = read_local(tmp_path)
    assert {split: len(frame) for split, frame in source.frames.items()} == n_rows
    assert source.folder is not None
    for frame in source.frames.values():
        for image, label in zip(frame["image"], frame["label"], strict=True):
            assert (source.folder / image).is_file()
            assert (source.folder / image).parent.name == label


def test_images_without_a_train_folder(tmp_path):
    (tmp_path / "test" / "cat").mkdir(parents=True)
    (tmp_path / "test" / "cat" / "1.png").write_bytes(b"")
    with pytest.raises(QuestionError, match=r"no train folder in .*; its folders of images: test"):
        read_local(tmp_path)


def test_class_names_of_a_parquet_file(tmp_path):
    from datasets import ClassLabel, Dataset, Features, Value

    features = Features({"text": Value("string"), "label": ClassLabel(names=["no", "yes"])})
    Dataset.from_dict({"text": ["a", "b"], "label": [1, 0]}, features=features).to_parquet(
        tmp_path / "train.parquet"
    )
    source = read_local(tmp_path)
    assert source.class_names == {"label": ("no", "yes")}
    features["label"] = ClassLabel(names=["yes", "no"])
    Dataset.from_dict({"text": ["c"], "label": [1]}, features=features).to_parquet(
        tmp_path / "test.parquet"
    )
    with pytest.raises(
        QuestionError,
        match=r"labels differ between files of .*: train.parquet has no, yes; another has yes, no",
    ):
        read_local(tmp_path)


WRONG = {
    "nothing there": (
        {},
        "holds no data files; wanted train and validation or test as .csv, .tsv, .jsonl, .json, "
        ".parquet, .txt, or images",
    ),
    "other files": ({"notes.txt": "hello"}, "holds no data files"),
    "no train": (
        {"test.csv": "text,label\na,b\n", "dev.csv": "text,label\na,b\n"},
        "no train file in .*: dev.csv, test.csv",
    ),
    "two files": (
        {"a.csv": "x,y\n1,2\n", "b.csv": "x,y\n1,2\n"},
        "no train file in .*: a.csv, b.csv",
    ),
    "two trains": (
        {"train.csv": "x,y\n1,2\n", "train.tsv": "x\ty\n1\t2\n"},
        "several train files: train.csv, train.tsv",
    ),
    "empty": ({"train.csv": ""}, "train.csv is empty"),
    "blank": ({"train.csv": "\n \n"}, "train.csv is empty"),
    "head only": ({"train.tsv": "text\tlabel\n"}, "train.tsv holds no rows"),
    "blank lines": ({"train.jsonl": "\n\n"}, "train.jsonl holds no rows"),
    "an empty test": ({"train.csv": "x,y\n1,2\n", "test.csv": "x,y\n"}, "test.csv holds no rows"),
    "too many cells": (
        {"train.csv": "x,y\n1,2\n3,4,5\n"},
        "row 2 has 3 cells for 2 columns; put quotes .* holds commas",
    ),
    "too many in the first row": (
        {"train.csv": "label,text\n0,well, film 0\n1,bad\n"},
        "row 1 has 3 cells for 2 columns",
    ),
    "too many tabs": (
        {"train.tsv": "label\ttext\n0\twell\tfilm\n"},
        "row 1 has 3 cells for 2 columns; .* holds tabs",
    ),
    "an open quote": (
        {"train.csv": 'x,y\n"1,2\n'},
        "cannot read .*train.csv: line 2 is not quoted properly",
    ),
    "a stray quote": (
        {"train.csv": 'x,y\n"so" good,2\n'},
        "line 2 is not quoted properly .* written twice",
    ),
    "two of one name": ({"train.csv": "x,x,y\n1,2,3\n"}, "columns of one name: x, x, y"),
    "broken json": ({"train.jsonl": '{"x": 1}\n{"x":\n'}, "line 2 is no JSON"),
    "a broken list": ({"train.json": '[{"x": 1},\n{"x": }]'}, "cannot read .*train.json: .*line 2"),
    "no list of objects": (
        {"train.json": '{"data": {"x": 1}}'},
        "cannot read .*train.json: wanted a list of objects",
    ),
    "blank list": ({"train.json": " "}, "train.json is empty"),
    "empty list": ({"train.json": "[]"}, "train.json holds no rows"),
    "a list": ({"train.jsonl": "[1, 2]\n"}, "line 1 is no JSON object"),
    "utf-16 without its mark": (
        {"train.csv": "x,y\n1,2\n".encode("utf-16-le")},
        "header holds null bytes; save it as UTF-8",
    ),
    "cut parquet": ({"train.parquet": "PAR1"}, "cannot read .*train.parquet: "),
    "no utf-8": (
        {"train.csv": "x,y\ncaf\xe9,2\n".encode("latin-1")},
        r"train.csv is no UTF-8 text: line 2 \(byte 8\)",
    ),
}


@pytest.mark.parametrize("name", list(WRONG))
def test_a_wrong_folder_is_one_line(tmp_path, name):
    files, message = WRONG[name]
    for file, content in files.items():
        (tmp_path / file).write_bytes(content if isinstance(content, bytes) else content.encode())
    with pytest.raises(QuestionError, match=message) as error:
        read_local(tmp_path)
    assert "\n" not in str(error.value)


def test_a_path_that_is_no_data(tmp_path):
    with pytest.raises(QuestionError, match="no such file or folder"):
        read_local(tmp_path / "nowhere")
    (tmp_path / "data.xlsx").write_bytes(b"PK")
    with pytest.raises(
        QuestionError, match=r"data\.xlsx is no data file by its name; known endings: \.csv, \.tsv"
    ):
        read_local(tmp_path / "data.xlsx")


def test_every_task_without_network_has_a_maker():
    assert list(MAKERS) == [name for name, task in TASKS.items() if not task.needs_network]


@pytest.mark.parametrize(("separator", "encoding"), [(";", "utf-8"), ("\t", "utf-16")])
def test_a_csv_as_spreadsheets_elsewhere_write_it(tmp_path, separator, encoding):
    path = tmp_path / "mine.csv"
    ROWS.to_csv(path, index=False, sep=separator, encoding=encoding)
    assert read_local(path).frames["train"].to_dict("list") == ROWS.to_dict("list")


def test_a_comma_in_a_quoted_header_separates_nothing(tmp_path):
    (tmp_path / "own.csv").write_text('"text, all";label\nso, so;1\n')
    frame = read_local(tmp_path / "own.csv").frames["train"]
    assert frame.to_dict("list") == {"text, all": ["so, so"], "label": ["1"]}


def test_parquet_columns_that_pandas_took_for_the_index_are_there(tmp_path):
    ROWS.set_index(ROWS.columns[0]).to_parquet(tmp_path / "own.parquet")
    assert set(read_local(tmp_path / "own.parquet").frames["train"]) == set(ROWS)
    name, places = ROWS.columns[0], range(len(ROWS))
    for index in (pd.RangeIndex(len(ROWS), name=name), pd.Index([*places][::-1], name=name)):
        ROWS.set_axis(index).to_parquet(tmp_path / "own.parquet")  # named as a column beside it
        found = read_local(tmp_path / "own.parquet").frames["train"]
        assert found[name].tolist() == ROWS[name].tolist()
        assert list(found.index) == [*places]


def test_parquet_of_two_columns_of_one_name_and_of_broken_text(tmp_path):
    import pyarrow as pa
    import pyarrow.parquet as pq

    bytes_ = pa.array([b"caf\xe9"])
    texts = pa.Array.from_buffers(pa.string(), 1, bytes_.buffers())
    for columns, why in ((["x", "x"], "columns of one name: x, x"), (["x", "y"], "UTF8")):
        pq.write_table(pa.Table.from_arrays([texts, texts], columns), tmp_path / "own.parquet")
        with pytest.raises(QuestionError, match=f"cannot read .*{why}"):
            read_local(tmp_path / "own.parquet")


def test_plain_text_is_a_paragraph_or_a_line_a_row(tmp_path):
    (tmp_path / "book.txt").write_text("one\ntwo\n\n \nthree\n")
    frame = read_local(tmp_path / "book.txt").frames["train"]
    assert frame.to_dict("list") == {"text": ["one\ntwo", "three"]}
    (tmp_path / "book.txt").write_text("one\n two\n")
    assert read_local(tmp_path / "book.txt").frames["train"]["text"].tolist() == ["one", "two"]
    (tmp_path / "train.csv").write_text("text\nthree\n")
    assert list(read_local(tmp_path).frames) == ["train"]  # beside data, texts are notes
