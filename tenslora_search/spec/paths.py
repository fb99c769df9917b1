"""Questions to the disk about paths that people typed: one that no disk can have (a null byte in
it, thousands of characters) is simply not there.
"""

from collections.abc import Callable
from pathlib import Path

from tenslora_search.spec.table import QuestionError


def is_file(path: Path) -> bool:
    return _asked(path, Path.is_file)


def is_dir(path: Path) -> bool:
    return _asked(path, Path.is_dir)


def exists(path: Path) -> bool:
    return _asked(path, Path.exists)


def typed(path: Path | str) -> Path:
    """A path as people type it, of the home folder by `~`; `QuestionError` for an empty text, which
    would be the current folder.

    >>> typed("runs/a")
    PosixPath('runs/a')
    """
    if path == "":
        raise QuestionError("the path of a file or folder is empty; of this folder it is '.'.")
    try:
        return Path(path).expanduser()
    except RuntimeError:  # the home folder of somebody who is not known here
        return Path(path)


def found(path: Path | str, option: str) -> Path:
    """The path of a file or folder as it was typed; `QuestionError` where there is neither."""
    place = typed(path)
    if is_file(place) or is_dir(place):
        return place
    if exists(place):
        raise QuestionError(
            f"{option} {shown(path)} is {_special(place)}, which is read once; write what comes "
            "from it into a file, and name that."
        )
    raise QuestionError(f"{option} {shown(path)}: no such file or folder.")


def output_folder(path: Path | str) -> Path:
    """The folder of a path as it was typed, made where it is not there; `QuestionError` where it
    is a file, or cannot be made.
    """
    place = typed(path)
    if exists(place) and not is_dir(place):
        raise QuestionError(
            f"cannot write into {shown(place)}: it is a file, and a folder is needed; choose "
            "another path."
        )
    try:
        place.mkdir(parents=True, exist_ok=True)
    except (OSError, ValueError) as error:
        why = getattr(error, "strerror", None) or error
        raise QuestionError(
            f"cannot make the folder {shown(place)}: {why}; choose another path."
        ) from error
    return place


def _special(path: Path) -> str:
    if path.is_fifo():
        return "a pipe"
    return "a socket" if path.is_socket() else "a device"


def leads_nowhere(path: Path) -> bool:
    """Whether it is a link whose end is not there."""
    return _asked(path, Path.is_symlink) and not exists(path)


def shown(path: Path | str) -> str:
    """A path as errors show it: on one line, not of thousands of characters, and whatever its
    bytes are.
    """
    text = str(path)
    text = text if text.isprintable() else ascii(text)[1:-1]
    return text if len(text) <= 240 else f"{text[:200]}... ({len(text):,} characters)"


def _asked(path: Path, what: Callable[[Path], bool]) -> bool:
    try:
        return what(path)
    except (OSError, ValueError):
        return False
