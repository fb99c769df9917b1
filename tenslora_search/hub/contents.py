"""What a folder holds, as a key: what is remembered of a model is remembered by its files, not by
its name.
"""

import hashlib
from functools import lru_cache
from pathlib import Path

READ = (
    ".json", ".safetensors", ".txt", ".model", ".jinja", ".tiktoken", ".spm", ".codes", ".bpe",
    ".vocab",
)  # fmt: skip
"""Endings of the files that a model is loaded from."""
SMALL = 32 * 2**20
"""Bytes up to which a file is told by what it holds; beyond, by its size, times and inode."""


def signature(folder: Path | str) -> tuple[tuple[object, ...], ...]:
    """Of the model's files in a folder: another one when any of them is changed; () for a hub id,
    which is no folder.
    """
    return tuple((file.name, *_told_by(file)) for file in _files(Path(folder)))


def stamp(path: Path | str) -> tuple[tuple[object, ...], ...]:
    """Of a file, or of all files under a folder: another one when any of them is changed."""
    files = sorted(Path(path).rglob("*")) if Path(path).is_dir() else [Path(path)]
    return tuple((str(file), *_told_by(file)) for file in files if file.is_file())


def _told_by(file: Path) -> tuple[object, ...]:
    about = file.stat()
    if about.st_size <= SMALL:
        return (hashlib.sha256(file.read_bytes()).hexdigest(),)
    return about.st_size, about.st_mtime_ns, about.st_ctime_ns, about.st_ino


def digest(folder: Path | str) -> str:
    """sha256 of the model's files in a folder, their names and what they hold."""
    return _digest(str(folder), signature(folder))


@lru_cache(maxsize=8)
def _digest(folder: str, known_by: tuple[tuple[object, ...], ...]) -> str:
    found = hashlib.sha256()
    for file in _files(Path(folder)):
        with file.open("rb") as lines:
            holds = hashlib.file_digest(lines, "sha256")
        found.update(f"{file.name} {holds.hexdigest()}\n".encode("utf-8", "surrogateescape"))
    return found.hexdigest()


def _files(folder: Path) -> list[Path]:
    """In the order of their names; hidden ones are no part of a model."""
    if not folder.is_dir():
        return []
    return sorted(
        file
        for file in folder.iterdir()
        if file.suffix in READ and not file.name.startswith(".") and file.is_file()
    )
