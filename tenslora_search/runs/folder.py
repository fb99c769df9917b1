"""The run folder: whose it is, who writes in it, and what a disk may do to it."""

import contextlib
import errno
import fcntl
import os
import shutil
from collections.abc import Callable, Generator
from pathlib import Path

from tenslora_search.runs.journal import check_not_emptied
from tenslora_search.runs.paths import LOCK, OURS, check_links
from tenslora_search.runs.question import Question
from tenslora_search.runs.run_file import RunFile
from tenslora_search.runs.states import SCRATCH
from tenslora_search.spec.paths import exists, leads_nowhere, shown
from tenslora_search.spec.table import QuestionError


def default_folder(question: Question) -> Path:
    """runs/TASK-BUDGET, or runs/DATA-BUDGET for own data."""
    name = question.task or Path(str(question.data)).stem
    return Path("runs", f"{name}-{question.budget}")


@contextlib.contextmanager
def run_folder(folder: Path, question: Question, *, force: bool) -> Generator[Callable[[], None]]:
    """The folder, locked for this process: new, or of the same question, or (force) of another.
    Gives what is to be called once the question has proved right: it makes the folder ready, with
    `force` without the run that it held.

    `QuestionError` if it cannot be written, another search runs in it, something of it lies
    elsewhere by a link, or it holds something else. Files of others stay.
    """
    check_folder(folder, question, force=force)
    with _errors_told(folder):
        folder.mkdir(parents=True, exist_ok=True)
        lock = (folder / LOCK).open("a")
    with lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError as error:
            if error.errno not in (errno.EWOULDBLOCK, errno.EACCES):
                raise QuestionError(
                    f"cannot lock {folder / LOCK}: {error.strerror}; choose an --out elsewhere."
                ) from error
            raise QuestionError(
                f"another search runs in {folder}; wait for it, or choose another --out."
            ) from error
        _check_same(folder, question, force=force)  # again, now that nobody else writes
        yield lambda: _make_ready(folder, force=force)


def is_in_use(folder: Path) -> bool:
    """Whether a search holds the folder's lock now, as far as a file system tells."""
    try:
        with (folder / LOCK).open("rb") as lock:
            fcntl.flock(lock, fcntl.LOCK_SH | fcntl.LOCK_NB)
    except OSError as error:
        return error.errno == errno.EWOULDBLOCK
    return False


def check_folder(folder: Path, question: Question, *, force: bool) -> None:
    """`QuestionError` for a folder that `run_folder` would not take; nothing is made or locked."""
    if leads_nowhere(folder):
        raise QuestionError(f"{folder} is a link that leads nowhere; choose another --out.")
    if not exists(folder):
        return
    with _errors_told(folder):
        if force and str(folder.resolve()) in (question.warm_start or ()):
            raise QuestionError(f"--force would delete {folder}, which --warm-start names.")
        check_links(folder, [LOCK] if force else (*OURS, LOCK))  # force takes links themselves away
        _check_ours(folder)
    _check_same(folder, question, force=force)


def _check_same(folder: Path, question: Question, *, force: bool) -> None:
    if not force and (folder / "run.json").exists():
        RunFile.read(folder).question.check_same(question, folder)
        with _errors_told(folder):
            check_not_emptied(folder)


def _check_ours(folder: Path) -> None:
    """`QuestionError` for a folder that holds something and no run."""
    held = sorted(path.name for path in folder.iterdir() if not _is_scratch(path))
    if not held:
        return
    if not (folder / "run.json").exists():
        raise QuestionError(
            f"{folder} is no run folder: it holds {', '.join(held[:3])}; choose another --out."
        )
    if not any(_begins(folder / name, sign) for name, sign in SIGNS.items()):
        raise QuestionError(f"run.json in {folder} is of no search; choose another --out.")


SIGNS = {"run.json": '"question"', "trials.jsonl": '{"event":'}
"""What a run's files begin with, damaged ones too."""


def _begins(path: Path, sign: str) -> bool:
    try:
        if not path.is_file():  # a pipe may never answer
            return False
        with path.open("rb") as content:
            return sign.encode() in content.read(200)
    except OSError:
        return False


def _is_scratch(path: Path) -> bool:
    """Whether a search that was begun and asked nothing leaves it."""
    if path.name in (LOCK, "run.json.part") or path.name.startswith(SCRATCH):
        return True
    return path.name == "states" and path.is_dir() and not any(path.iterdir())


def _make_ready(folder: Path, *, force: bool) -> None:
    with _errors_told(folder):
        for path in folder.iterdir() if force else ():
            if path.name in OURS or path.name.startswith(SCRATCH):
                is_folder = path.is_dir() and not path.is_symlink()
                shutil.rmtree(path) if is_folder else path.unlink()
        (folder / "states").mkdir(exist_ok=True)


@contextlib.contextmanager
def _errors_told(folder: Path) -> Generator[None]:
    try:
        yield
    except (OSError, ValueError, RecursionError) as error:  # of a path of a thousand parts
        if isinstance(error, QuestionError):
            raise
        told = shown(getattr(error, "filename", None) or folder)
        why = getattr(error, "strerror", None) or error
        raise QuestionError(f"cannot write {told}: {why}. Choose another --out.") from error


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
