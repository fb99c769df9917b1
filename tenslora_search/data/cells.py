"""Cells of a table as a model is to read them: texts and pictures, of sizes that can be read."""

import logging
from pathlib import Path
from typing import Any

from tenslora_search.data.labels import is_missing
from tenslora_search.hub.lines import numbered
from tenslora_search.spec.paths import shown
from tenslora_search.spec.table import QuestionError

MOST_CHARACTERS = 10_000_000
"""Of a text of a row; the longest books have fewer."""
MOST_IMAGE_BYTES = 2**28
LOGGER = logging.getLogger("tenslora_search")


def texts_of(cells: Any, column: str, where: str) -> list[str]:
    """The texts of a column; a cell that holds nothing is an empty text, whatever the file's form,
    and is told of.
    """
    texts = []
    for row, cell in zip(cells.index, cells, strict=True):
        text = "" if not isinstance(cell, str) and is_missing(cell) else cell
        if not isinstance(text, str):
            found = repr(cell)[:60]
            raise QuestionError(
                f"row {row + 1} of {where} has no text in column {column!r}: {found}."
            )
        check_length(text, f"row {row + 1} of {where}", column)
        texts.append(text)
    empty = [row + 1 for row, text in zip(cells.index, texts, strict=True) if not text.strip()]
    if len(empty) == len(texts):
        raise QuestionError(f"no row of {where} has text in column {column!r}.")
    if empty:
        LOGGER.warning(
            "%s of %s rows of %s have no text in column %r (row %s); they are read as empty texts",
            f"{len(empty):,}", f"{len(texts):,}", where, column, numbered(empty),
        )  # fmt: skip
    return texts


def check_length(text: str, row: str, column: str) -> None:
    """`QuestionError` for a text that no model reads: often a quote that nothing closes."""
    if len(text) > MOST_CHARACTERS:
        raise QuestionError(
            f"{row} has a text of {len(text):,} characters in column {column!r}; at most "
            f"{MOST_CHARACTERS:,} are read. Cut it into rows, or mend the quotes around it."
        )


def image_bytes(cell: Any, folder: Path | None, row: str) -> bytes:
    """The bytes of a cell: bytes, a struct of bytes and path, or a path under the folder."""
    path = cell if isinstance(cell, str) else None
    if isinstance(cell, dict):
        cell, path = cell.get("bytes"), cell.get("path")
    if isinstance(cell, bytes):
        _check_size(len(cell), row)
        return cell
    if path and folder is not None:
        try:
            if (folder / path).is_file():  # a device or a pipe may never end
                _check_size((folder / path).stat().st_size, row)
                return (folder / path).read_bytes()
        except QuestionError:
            raise
        except (OSError, ValueError):  # a name with a null byte in it is a ValueError
            pass
        raise QuestionError(f"{row} names an image that cannot be read: {shown(folder / path)}.")
    raise QuestionError(f"{row} has neither image bytes nor the path of an image file.")


def _check_size(n_bytes: int, row: str) -> None:
    if n_bytes > MOST_IMAGE_BYTES:
        raise QuestionError(
            f"{row} has an image of {n_bytes:,} bytes; at most {MOST_IMAGE_BYTES:,} are read."
        )
