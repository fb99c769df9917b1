"""export_folder(): a folder that appears whole, in place of nothing or of an earlier export with
the same files.
"""

import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from safetensors import SafetensorError

from tenslora_search.export.card import TAG
from tenslora_search.hub.permissions import share
from tenslora_search.spec.paths import exists, is_dir, leads_nowhere
from tenslora_search.spec.table import QuestionError


@contextmanager
def export_folder(to: Path) -> Iterator[Path]:
    """Gives a folder to write in, which is put at `to` if nothing goes wrong inside.

    `QuestionError` if `to` is a file, holds anything but an earlier export of the same format, or
    cannot be written.
    """
    _check(to)
    place = to.expanduser().resolve()
    part = (
        place / ".part" if place.is_dir() else place.with_name(f".{place.name}.part")
    )  # on the same file system
    try:
        shutil.rmtree(part, ignore_errors=True)  # of an export that was killed
        part.mkdir(parents=True)
        if _is_text(part):
            yield part
        else:  # libraries in Rust write to no such path
            with tempfile.TemporaryDirectory() as plain:
                yield Path(plain)
                shutil.copytree(plain, part, dirs_exist_ok=True)
        _put(share(part), place, to)
    except (OSError, SafetensorError) as error:
        said = getattr(error, "strerror", None) or str(error).splitlines()[0]
        raise QuestionError(f"cannot export to {to}: {said}. Choose another folder.") from error
    finally:
        shutil.rmtree(part, ignore_errors=True)


def _is_text(path: Path) -> bool:
    """Whether the path's name is UTF-8."""
    try:
        _ = str(path).encode()
    except UnicodeEncodeError:
        return False
    return True


def remove_export(folder: Path, like: Path) -> None:
    """Removes an earlier export that holds nothing but what another one does; anything else
    stays."""
    if _is_export(folder) and set(_names(folder)) <= set(_names(like)):
        shutil.rmtree(folder, ignore_errors=True)


def _check(to: Path) -> None:
    """Before anything is loaded: nothing is there, or an export is."""
    place = to.expanduser()
    if leads_nowhere(place):
        raise QuestionError(
            f"cannot export to {to}: it is a link that leads nowhere; choose another folder."
        )
    if exists(place) and not is_dir(place):
        raise QuestionError(f"cannot export to {to}: it is a file; choose another folder.")
    held = _names(place)
    if held and not _is_export(place):
        raise QuestionError(
            f"{to} is no export: it holds {', '.join(held[:3])}; choose another folder."
        )
    if linked := [name for name in held if (place / name).is_symlink()]:
        raise QuestionError(
            f"{to} holds {', '.join(linked[:3])}, which is a link; choose another folder."
        )


def _put(part: Path, place: Path, to: Path) -> None:
    if not place.exists():
        part.rename(place)
        return
    more = sorted(set(_names(place)) - set(_names(part)))
    if more:
        raise QuestionError(
            f"{to} holds {', '.join(more[:3])}, which is not of this format; choose another folder."
        )
    for path in sorted(
        part.iterdir(), key=lambda path: path.name != "README.md"
    ):  # the card first: by it an export is known
        if path.is_dir():
            shutil.rmtree(place / path.name, ignore_errors=True)
        path.replace(place / path.name)


def _names(folder: Path) -> list[str]:
    return (
        sorted(path.name for path in folder.iterdir() if not path.name.startswith("."))
        if is_dir(folder)
        else []
    )


def _is_export(folder: Path) -> bool:
    try:
        return f"- {TAG}\n" in (folder / "README.md").read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError):
        return False
