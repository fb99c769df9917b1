"""Where a run folder's files lie: nothing outside the folder is read, written or deleted."""

import os
import stat
from collections.abc import Iterable
from pathlib import Path

from tenslora_search.runs.fields import INNER
from tenslora_search.spec.table import QuestionError

OURS = (
    "run.json", "run.json.part", "trials.jsonl", "study.journal", "states", "ray", "adapters",
    "report.html", "front.csv", "front.png", "front.svg", "front.pdf", "report.md", "trials.csv",
    "search.toml", "result.json", "tensorboard",
)  # fmt: skip
"""What a run folder holds, beside its scratch."""
LOCK = ".lock"


def inside(folder: Path, name: str) -> Path:
    """The file of a run folder that goes by `name`; `QuestionError` if it leads out of the folder,
    by its name or by a link.
    """
    path = folder / name
    try:
        is_inside = INNER.accepts(name) and path.resolve().is_relative_to(folder.resolve())
    except (OSError, RuntimeError) as error:  # links in a circle
        raise QuestionError(f"{name!r} cannot be found in {folder}: {error}.") from error
    if not is_inside:
        raise QuestionError(f"{name!r} leads out of the run folder {folder}; it is left alone.")
    return path


def check_links(folder: Path, names: Iterable[str] = (*OURS, LOCK)) -> None:
    """`QuestionError` if something of the run, or in its folders, lies elsewhere by a link, or is a
    pipe or the like, which may never end.
    """
    for name in names:
        _check(folder, folder / name)
        for place, folders, files in os.walk(folder / name):
            for one in (*folders, *files):
                _check(folder, Path(place, one))


def _check(folder: Path, path: Path) -> None:
    try:
        kind = path.lstat().st_mode
    except (OSError, ValueError):  # not there
        return
    if stat.S_ISLNK(kind):
        inside(folder, str(path.relative_to(folder)))
    elif not stat.S_ISREG(kind) and not stat.S_ISDIR(kind):
        raise QuestionError(f"{path} is a pipe or a device, and no file of a run; take it away.")
