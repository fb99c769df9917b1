"""Rows: what a model is to read of each row of a split, as found or as written by a form."""

import hashlib
from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from tenslora_search.data.cells import image_bytes, texts_of
from tenslora_search.data.columns import Columns
from tenslora_search.data.sources import Source
from tenslora_search.data.worded import worded
from tenslora_search.spec.table import QuestionError

if TYPE_CHECKING:
    from pandas import DataFrame


@dataclass(frozen=True)
class Rows:
    """Inputs as found: one list of texts or image bytes a column, in the order the model reads
    them.
    """

    columns: tuple[list[Any], ...]
    where: str  # what errors call them
    numbers: NDArray[np.int64]  # of the rows where they were found, from 0
    kind: str = ""  # of text that is to be written: a kind of `spec.wordings`
    names: tuple[str, ...] = ()  # of the columns that errors name, where they are not the inputs'

    @classmethod
    def of(cls, frame: "DataFrame", roles: Columns, source: Source, split: str) -> "Rows":
        """The input columns of one split; texts must be text, images bytes or paths under the
        source's folder.
        """
        where, numbers = f"{split} of {source.origin}", frame.index.to_numpy()
        for column in roles.inputs:
            if column not in frame:
                raise QuestionError(
                    f"no column {column!r} in {where}; it has: "
                    f"{', '.join(map(str, frame.columns))}."
                )
        if roles.wording:
            kind = roles.wording.kind
            return cls(worded(frame, roles, where), where, numbers, kind, roles.inputs)
        if roles.kind == "image":
            cells = frame[roles.inputs[0]]
            images = [
                image_bytes(cell, source.folder, f"row {row + 1} of {where}")
                for row, cell in zip(numbers, cells, strict=True)
            ]
            return cls((images,), where, numbers)
        texts = tuple(texts_of(frame[column], column, where) for column in roles.inputs)
        return cls(texts, where, numbers)

    def __len__(self) -> int:
        return len(self.columns[0])

    def take(self, index: NDArray) -> "Rows":
        """The rows at those places, in that order."""
        return Rows(
            tuple([column[i] for i in index] for column in self.columns),
            self.where,
            self.numbers[index],
            self.kind,
            self.names,
        )

    def unlike(self, others: "Rows") -> NDArray[np.int64]:
        """The places of the rows that no row of the others equals."""
        theirs = set(zip(*others.columns, strict=True))
        own = enumerate(zip(*self.columns, strict=True))
        return np.array([place for place, row in own if row not in theirs], dtype=np.int64)

    def groups(self) -> NDArray[np.int64]:
        """A number a row, from 0 in order of appearance; equal inputs have equal numbers."""
        numbers: dict[tuple[Any, ...], int] = {}
        return np.array(
            [numbers.setdefault(row, len(numbers)) for row in zip(*self.columns, strict=True)],
            dtype=np.int64,
        )

    @cached_property
    def digest(self) -> str:
        """sha256 of the rows in their order."""
        found = hashlib.sha256()
        for column in self.columns:
            encoded = [
                cell if isinstance(cell, bytes) else cell.encode("utf-8", "surrogatepass")
                for cell in column
            ]
            found.update(np.array([len(column), *map(len, encoded)], dtype=np.int64).tobytes())
            found.update(b"".join(encoded))
        return found.hexdigest()
