"""Where a run folder's files lie: nothing outside the folder is read, written or deleted."""

import os
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
    """`QuestionError` if something of the run, or in its folders, lies elsewhere by a link."""
    for name in names:
        if (folder / name).is_symlink():
            inside(folder, name)
        for place, folders, files in os.walk(folder / name):
            for one in (*folders, *files):
                if (path := Path(place, one)).is_symlink():
                    inside(folder, str(path.relative_to(folder)))
