"""Where rows come from: local files, the hub, or made on this machine; all end as one data frame a
split.
"""

import csv
import json
import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from tenslora_search.data.digits import digits_frame
from tenslora_search.data.docstrings import docstrings_frame
from tenslora_search.hub.hub import hub_calls, one_line
from tenslora_search.spec.table import QuestionError, Table
from tenslora_search.spec.tasks import Task

if TYPE_CHECKING:
    from pandas import DataFrame

SPLIT_NAMES = {
    "train": "train", "training": "train", "validation": "validation", "valid": "validation",
    "val": "validation", "dev": "validation", "validation_matched": "validation",
    "dev_matched": "validation", "test": "test", "testing": "test",
}  # fmt: skip
IMAGE_KINDS = ("png", "jpg", "jpeg", "webp", "bmp", "gif", "tif", "tiff", "ppm", "pgm")
SHARD = re.compile(r"(?P<split>[a-z_]+?)(?:[-_.]?\d+(?:[-_.]of[-_.]\d+)?(?:[-_.]\w+)?)?")


@dataclass
class Source:
    """Rows as found: a data frame for "train" and, where there are any, "validation" and "test"."""

    origin: str  # what errors call it
    frames: dict[str, Any]  # pandas.DataFrame
    class_names: dict[str, tuple[str, ...]] = field(
        default_factory=dict
    )  # by column, where the files say so
    folder: Path | None = None  # image paths in the rows are relative to it


def read_local(path: Path, name: str | None = None) -> Source:
    """A data file (all of it is train), or a folder whose files are named train, validation (val,
    dev) and test; or images.

    A folder may keep its files one level down, in `data` or in a folder named as the task. Images
    lie in a folder a class. Raises `QuestionError` for a path that is not there, holds no data
    files, or holds files that cannot be read or are empty.
    """
    if path.is_file():
        return _from_files(str(path), {"train": [path]}, path.parent)
    if not path.is_dir():
        raise QuestionError(f"--data {path}: no such file or folder.")
    folders = [
        folder for folder in (path, path / "data", path / (name or "data")) if folder.is_dir()
    ]
    for folder in folders:
        if files := sorted(file for file in folder.glob("*") if _kind(file) in READERS):
            return _from_files(str(folder), _by_split(folder, files), folder)
    for folder in folders:
        if images := read_image_folders(folder):
            return Source(str(folder), images, {}, folder)
    wanted = (
        f"train and validation or test as {_endings()}, or images in a folder a class "
        "(train/cat/1.png, or cat/1.png)"
    )
    raise QuestionError(f"--data {path} holds no data files; wanted {wanted}.")


def read_image_folders(folder: Path) -> "dict[str, DataFrame]":
    """Images in a folder a class, by split: `train/cat/1.png`, `test/cat/2.png`; or `cat/1.png`,
    all of them train.

    Columns: `image`, the path under the folder, and `label`, the name of the image's folder. None
    found: no splits.
    """
    import pandas as pd

    splits: dict[str, list[Path]] = {}
    for file in _images(folder, "*/*/*"):
        if split := SPLIT_NAMES.get(file.parts[0].lower()):
            splits.setdefault(split, []).append(file)
    if splits and "train" not in splits:
        raise QuestionError(
            f"no train folder in {folder}; its folders of images: {', '.join(splits)}."
        )
    if not splits and (files := _images(folder, "*/*")):
        splits = {"train": files}
    return {
        split: pd.DataFrame(
            {"image": map(str, files), "label": [file.parent.name for file in files]}
        )
        for split, files in splits.items()
    }


def read_hub(task: Task) -> Source:
    """The task's train and report splits from the hub, through the `datasets` library."""
    import datasets

    with hub_calls(f"data set {task.hub!r}"):
        had_bars = not datasets.are_progress_bars_disabled()
        datasets.disable_progress_bars()
        try:
            found: Any = datasets.load_dataset(str(task.hub), task.config, revision=task.revision)
        finally:
            if had_bars:
                datasets.enable_progress_bars()
    frames: dict[str, Any] = {}
    class_names: dict[str, tuple[str, ...]] = {}
    for split, wanted in (
        (task.train_split, "train"),
        (task.report_split, SPLIT_NAMES[task.report_split]),
    ):
        if split not in found:
            raise QuestionError(
                f"data set {task.hub!r} has no split {split!r}; it has: {', '.join(found)}."
            )
        frames[wanted] = found[split].with_format("arrow")[:].to_pandas()
        for column, feature in found[split].features.items():
            if getattr(feature, "names", None):
                class_names[column] = tuple(feature.names)
    return Source(f"{task.hub} on the hub", frames, class_names)


def make_local(task: Task) -> Source:
    """The rows of a task that needs no network."""
    return Source(f"task {task.name}", {"train": MAKERS[task.name]()})


def _by_split(folder: Path, files: Sequence[Path]) -> dict[str, list[Path]]:
    """The files of each split; shards such as train-00000-of-00002.parquet belong together, a lone
    other name is train.
    """
    splits: dict[str, list[Path]] = {}
    for file in files:
        match = SHARD.fullmatch(file.stem.lower())
        split = SPLIT_NAMES.get(match["split"]) if match else None
        if split:
            splits.setdefault(split, []).append(file)
    if not splits and len(files) == 1:
        return {"train": list(files)}
    if "train" not in splits:
        raise QuestionError(
            f"no train file in {folder}; its data files: {', '.join(file.name for file in files)}."
        )
    for split, members in splits.items():
        if len({_kind(file) for file in members}) > 1 or (
            len(members) > 1 and any(map(_is_whole, members))
        ):
            names = ", ".join(file.name for file in members)
            raise QuestionError(
                f"{folder} has several {split} files: {names}. Keep one, or name one file with "
                "--data."
            )
    return splits


def _from_files(origin: str, splits: dict[str, list[Path]], folder: Path) -> Source:
    import pandas as pd

    source = Source(origin, {}, {}, folder)
    for split, files in splits.items():
        frames = []
        for file in files:
            frame, names = _read(file)
            for column, classes in names.items():
                if source.class_names.setdefault(column, classes) != classes:
                    known = ", ".join(source.class_names[column])
                    raise QuestionError(
                        f"labels differ between files of {origin}: {file.name} has "
                        f"{', '.join(classes)}; another has {known}."
                    )
            frames.append(frame)
        if not sum(map(len, frames)):
            raise QuestionError(f"{', '.join(map(str, files))} holds no rows.")
        source.frames[split] = (
            frames[0] if len(frames) == 1 else pd.concat(frames, ignore_index=True)
        )
    return source


def _read(file: Path) -> "tuple[DataFrame, dict[str, tuple[str, ...]]]":
    try:
        kind = _kind(file)
        if kind not in READERS:
            raise QuestionError(f"{file} is no data file by its name; known endings: {_endings()}.")
        return READERS[kind](file)
    except QuestionError:
        raise
    except Exception as error:  # the readers raise errors of several libraries
        if not file.read_bytes().strip():
            raise QuestionError(f"{file} is empty.") from error
        if isinstance(error, UnicodeDecodeError):
            raise QuestionError(
                f"{file} is no UTF-8 text (byte {error.start + 1}); save it as UTF-8."
            ) from error
        raise QuestionError(f"cannot read {file}: {one_line(error)}") from error


def _images(folder: Path, pattern: str) -> list[Path]:
    """Image files that the pattern finds, under the folder, in order; hidden ones are none."""
    found = (
        file.relative_to(folder) for file in folder.glob(pattern) if _kind(file) in IMAGE_KINDS
    )
    return sorted(file for file in found if not any(part.startswith(".") for part in file.parts))


def _is_whole(file: Path) -> bool:
    """Whether the file's name is a split's, with no number of a shard."""
    return file.stem.lower() in SPLIT_NAMES


def _kind(file: Path) -> str:
    return file.suffix.lower().lstrip(".")


def _endings() -> str:
    return ", ".join(f".{kind}" for kind in READERS)


def read_csv(file: Path) -> "tuple[DataFrame, dict[str, tuple[str, ...]]]":
    """Comma-separated values with a header line; every cell is text, an empty one too."""
    return _text_table(file, ","), {}


def read_tsv(file: Path) -> "tuple[DataFrame, dict[str, tuple[str, ...]]]":
    """Tab-separated values with a header line, quoted properly or not at all (GLUE's files hold
    stray quotes).
    """
    try:
        plain = _text_table(file, "\t", csv.QUOTE_NONE)
    except ValueError:
        return _text_table(file, "\t"), {}
    quoted = [
        cell
        for column in plain
        for cell in [column, *plain[column].dropna()]
        if cell.startswith('"')
    ]
    proper = quoted and all(
        len(cell) > 1 and re.fullmatch(r'"(?:[^"]|"")*"', cell) for cell in quoted
    )
    return _text_table(file, "\t") if proper else plain, {}


def read_jsonl(file: Path) -> "tuple[DataFrame, dict[str, tuple[str, ...]]]":
    """One JSON object a line."""
    import pandas as pd

    rows = []
    with file.open(encoding="utf-8-sig") as lines:
        for number, line in enumerate(lines, start=1):
            if line.strip():
                try:
                    rows.append(json.loads(line))
                except json.JSONDecodeError as error:
                    raise QuestionError(
                        f"cannot read {file}: line {number} is no JSON ({error.msg})."
                    ) from error
                if not isinstance(rows[-1], dict):
                    raise QuestionError(f"cannot read {file}: line {number} is no JSON object.")
    return pd.DataFrame(rows), {}


def read_json(file: Path) -> "tuple[DataFrame, dict[str, tuple[str, ...]]]":
    """A JSON list of objects, alone or as `data` of an object; or one object a line."""
    import pandas as pd

    try:
        rows = json.loads(file.read_text(encoding="utf-8-sig"))
    except json.JSONDecodeError as error:
        if error.msg != "Extra data":
            raise
        return read_jsonl(file)
    rows = rows.get("data", [rows]) if isinstance(rows, dict) else rows
    if not isinstance(rows, list) or not all(isinstance(row, dict) for row in rows):
        raise QuestionError(
            f"cannot read {file}: wanted a list of objects, one a row, or one object a line."
        )
    return pd.DataFrame(rows), {}


def read_parquet(file: Path) -> "tuple[DataFrame, dict[str, tuple[str, ...]]]":
    """A parquet file; the names of classes come from the schema's `huggingface` entry."""
    import pyarrow.parquet as pq

    table = pq.ParquetFile(
        file
    ).read()  # read_table would take folder names such as a=b for columns
    features = (
        json.loads((table.schema.metadata or {}).get(b"huggingface", b"{}"))
        .get("info", {})
        .get("features", {})
    )
    names = {
        column: tuple(feature["names"])
        for column, feature in features.items()
        if isinstance(feature, dict)
        and feature.get("_type") == "ClassLabel"
        and feature.get("names")
    }
    return table.to_pandas(), names


def _text_table(file: Path, separator: str, quoting: Any = csv.QUOTE_MINIMAL) -> "DataFrame":
    """A header line and rows of text; a line that holds nothing is no row.

    `QuestionError` for a row of more cells than there are columns, unless those beyond are empty:
    no text may be lost.
    """
    import pandas as pd

    csv.field_size_limit(2**31 - 1)  # of a cell; csv's own is 131,072 characters
    with file.open(encoding="utf-8-sig", newline="") as lines:
        reader = csv.reader(lines, delimiter=separator, quoting=quoting, strict=True)
        try:
            rows = [row for row in reader if "".join(row).strip()]
        except csv.Error as error:
            why = (
                f"line {reader.line_num} is not quoted properly ({error}); a quote inside "
                "quotes is written twice"
            )
            raise QuestionError(f"cannot read {file}: {why}.") from error
    if not rows:
        raise QuestionError(f"{file} is empty.")
    names = [name.strip() or f"column {place}" for place, name in enumerate(rows.pop(0), start=1)]
    if len(set(names)) < len(names):
        raise QuestionError(
            f"cannot read {file}: columns of one name: {', '.join(names)}; give each a name of "
            "its own."
        )
    for number, row in enumerate(rows, start=1):
        if "".join(row[len(names) :]):
            why = f"row {number} has {len(row)} cells for {len(names)} columns"
            holds = "commas" if separator == "," else "tabs"
            raise QuestionError(
                f"cannot read {file}: {why}; put quotes around text that holds {holds}."
            )
    whole = [row[: len(names)] + [None] * (len(names) - len(row)) for row in rows]
    return pd.DataFrame(whole, columns=names)


READERS: "Table[Callable[[Path], tuple[DataFrame, dict[str, tuple[str, ...]]]]]" = Table(
    "kind of data file",
    {
        "csv": read_csv,
        "tsv": read_tsv,
        "jsonl": read_jsonl,
        "json": read_json,
        "parquet": read_parquet,
    },
    renamed=True,
)
MAKERS: "Table[Callable[[], DataFrame]]" = Table(
    "local task",
    {"digits": digits_frame, "docstrings": docstrings_frame},
    renamed=True,
)
