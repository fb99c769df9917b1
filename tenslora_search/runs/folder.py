"""The run folder: whose it is, who writes in it, and what a disk may do to it."""

import contextlib
import errno
import fcntl
import os
import shutil
from collections.abc import Generator
from pathlib import Path

from tenslora_search.runs.paths import LOCK, OURS, check_links
from tenslora_search.runs.question import Question
from tenslora_search.runs.run_file import RunFile
from tenslora_search.spec.table import QuestionError


def default_folder(question: Question) -> Path:
    """runs/TASK-BUDGET, or runs/DATA-BUDGET for own data."""
    name = question.task or Path(str(question.data)).stem
    return Path("runs", f"{name}-{question.budget}")


@contextlib.contextmanager
def run_folder(folder: Path, question: Question, *, force: bool) -> Generator[None]:
    """The folder, locked for this process: new, or of the same question, or (force) without the run
    that it held.

    `QuestionError` if it cannot be written, another search runs in it, something of it lies
    elsewhere by a link, or it holds something else. Files of others stay.
    """
    try:
        folder.mkdir(parents=True, exist_ok=True)
        check_links(folder, [LOCK] if force else (*OURS, LOCK))  # force takes links themselves away
        lock = (folder / LOCK).open("a")
    except OSError as error:
        raise QuestionError(
            f"cannot write the run folder {folder}: {error.strerror}. Choose another --out."
        ) from error
    with lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError as error:
            raise QuestionError(
                f"another search runs in {folder}; wait for it, or choose another --out."
            ) from error
        try:
            _make_ready(folder, question, force=force)
        except OSError as error:
            where = error.filename or folder
            raise QuestionError(
                f"cannot write {where}: {error.strerror or error}. Choose another --out."
            ) from error
        yield


def _make_ready(folder: Path, question: Question, *, force: bool) -> None:
    ours = [
        path for path in folder.iterdir() if path.name in OURS or path.name.startswith(".segment-")
    ]
    foreign = sorted(
        {path.name for path in folder.iterdir()} - {path.name for path in ours} - {LOCK}
    )
    if foreign and not (folder / "run.json").exists():
        raise QuestionError(
            f"{folder} is no run folder: it holds {', '.join(foreign[:3])}; choose another --out."
        )
    if force:
        for path in ours:
            shutil.rmtree(path) if path.is_dir() and not path.is_symlink() else path.unlink()
    elif (folder / "run.json").exists():
        RunFile.read(folder).question.check_same(question, folder)
    (folder / "states").mkdir(exist_ok=True)


DISK_ERRORS = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG, errno.EROFS, errno.EACCES, errno.EIO)


def disk_error(text: str) -> str | None:
    """What is wrong with the disk by the text of an error that came from another process or
    library, if that is it.
    """
    return next((os.strerror(code) for code in DISK_ERRORS if os.strerror(code) in text), None)


@contextlib.contextmanager
def disk_errors(folder: Path) -> Generator[None]:
    """A full or read-only disk is one line, whichever library met it."""
    try:
        yield
    except OSError as error:
        if error.errno not in DISK_ERRORS:
            raise
        raise QuestionError(
            f"cannot write in {folder}: {error.strerror}. What was done so far is kept."
        ) from error


def move(source: Path, target: Path) -> None:
    """By renaming, which is whole or not at all; across file systems by a copy that is renamed."""
    try:
        source.replace(target)
    except OSError:
        try:
            part = target.with_suffix(".part")
            shutil.copyfile(source, part)
            part.replace(target)
        except OSError as error:
            raise QuestionError(
                f"cannot write {target}: {error.strerror}. What was done so far is kept."
            ) from error
