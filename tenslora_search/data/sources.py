"""Where rows come from: local files, the hub, or made on this machine; all end as one data frame a
split.
"""

import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from tenslora_search.data.readers import READERS
from tenslora_search.hub.hub import hub_calls
from tenslora_search.hub.lines import one_line
from tenslora_search.spec.paths import found, is_file
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
DISK = "dataset_dict.json"
"""In a folder that `save_to_disk` of datasets has written; one of a single split has `STATE`."""
STATE = "state.json"
ABOUT = (DISK, STATE, "dataset_infos.json", "dataset_info.json")
"""Files that tell of data and hold none."""
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
    if is_file(found(path, "--data")):
        return _from_files(str(path), {"train": [path]}, path.parent)
    folders = [
        folder for folder in (path, path / "data", path / (name or "data")) if folder.is_dir()
    ]
    for folder in folders:
        if (folder / DISK).is_file() or (folder / STATE).is_file():
            return read_disk(folder)
        if files := _data_files(folder):
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


def read_disk(folder: Path) -> Source:
    """What `save_to_disk` of datasets has written: a split, or several by name."""
    import datasets

    try:
        found: Any = datasets.load_from_disk(str(folder))
    except Exception as error:  # of any class, by what is broken
        raise QuestionError(f"cannot read {folder}: {one_line(error)}") from error
    by_name = found if isinstance(found, dict) else {"train": found}
    splits = {SPLIT_NAMES.get(name.lower(), name): split for name, split in by_name.items()}
    if "train" not in splits:
        raise QuestionError(f"no train split in {folder}; it has: {', '.join(by_name)}.")
    source = Source(str(folder), {}, {}, folder)
    for split, rows in splits.items():
        if split in ("train", "validation", "test"):
            _add_split(source, split, rows)
    return source


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
    source = Source(f"{task.hub} on the hub", {})
    for split, wanted in (
        (task.train_split, "train"),
        (task.report_split, SPLIT_NAMES.get(task.report_split, "")),
    ):
        if not split:
            continue
        if split not in found:
            raise QuestionError(
                f"data set {task.hub!r} has no split {split!r}; it has: {', '.join(found)}."
            )
        _add_split(source, wanted, found[split])
    return source


def _add_split(source: Source, split: str, rows: Any) -> None:
    """Adds a `datasets.Dataset` to a source, as a split of that name."""
    source.frames[split] = rows.with_format("arrow")[:].to_pandas().reset_index(drop=True)
    for column, feature in rows.features.items():
        of_one = getattr(feature, "feature", feature)  # of a column of lists: of what they hold
        if names := getattr(of_one, "names", None):
            source.class_names[column] = tuple(map(str, names))


def make_local(task: Task) -> Source:
    """The rows of a task that needs no network."""
    return Source(f"task {task.name}", {"train": MAKERS[task.name]()})


def _data_files(folder: Path) -> list[Path]:
    """The data files of a folder, in the order of their names; what is hidden, or tells of data, is
    none.

    `QuestionError` for what has a data file's name and cannot be read as one.
    """
    named = [
        path
        for path in sorted(folder.iterdir())
        if _kind(path) in READERS and path.name not in ABOUT and path.name[0] not in ".~"
        if _kind(path) != "txt" or _is_whole(path)  # other texts are notes
    ]
    for path in named:
        if path.is_dir():
            raise QuestionError(
                f"{path} is a folder with a data file's name; rename it, or give it to --data."
            )
        if not path.is_file():
            what = "a link that leads nowhere" if path.is_symlink() else "no regular file"
            raise QuestionError(f"{path} is {what}; mend it or take it away.")
    return named


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
            raise QuestionError(_not_utf8(file)) from error
        raise QuestionError(f"cannot read {file}: {one_line(error)}") from error


def _not_utf8(file: Path) -> str:
    """The line that says where a file holds a byte that is no UTF-8."""
    content = file.read_bytes()
    try:
        content.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        line = content.count(b"\n", 0, error.start) + 1
        return (
            f"{file} is no UTF-8 text: line {line:,} (byte {error.start + 1:,}) holds "
            f"{content[error.start : error.start + 1]!r}; save it as UTF-8."
        )
    return f"{file} is no UTF-8 text; save it as UTF-8."


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


def digits() -> "DataFrame":
    """Pictures of the digits 5 to 9."""
    from tenslora_search.data.digits import digits_frame

    return digits_frame()


def docstrings() -> "DataFrame":
    """Sentences of the docstrings of installed libraries."""
    from tenslora_search.data.docstrings import docstrings_frame

    return docstrings_frame()


def docstrings_lm() -> "DataFrame":
    """Some of these sentences, without the libraries' names."""
    from tenslora_search.data.docstrings import docstrings_lm_frame

    return docstrings_lm_frame()


MAKERS: "Table[Callable[[], DataFrame]]" = Table(
    "local task",
    {entry.__name__: entry for entry in (digits, docstrings, docstrings_lm)},
    renamed=True,
)
