"""A label column read: class numbers, or a set of labels for each row."""

import ast
import json
import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from tenslora_search.data.columns import Columns
from tenslora_search.hub.lines import numbered
from tenslora_search.spec.table import QuestionError

MOST_CLASSES = 1000
"""Unless the question says what the labels are."""
MOST_LABEL = 10_000  # characters
WHOLE = re.compile(r"-?\d{1,18}")
SEPARATORS = ("|", ";", ",")
"""Between the labels of a row that are written as one text; the first that any row has."""


@dataclass(frozen=True, slots=True)
class Targets:
    """What is to be learnt, by split; `names` of the classes or labels, empty for scores."""

    of: dict[str, NDArray]
    names: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class LabelColumn:
    """The label of every row, by split, and what is known of it."""

    cells: Mapping[str, Any]
    """pandas.Series by split, train first; the index holds the rows' numbers, from 0"""
    name: str
    origin: str
    class_names: tuple[str, ...] | None = None
    """as the files name them"""
    is_certain: bool = False
    """whether the question says what the labels are"""

    @property
    def where(self) -> str:
        return f"column {self.name!r} of {self.origin}"

    def row(self, split: str, place: int) -> str:
        """What errors call a row."""
        return f"row {self.cells[split].index[place] + 1} of {split} of {self.origin}"


def label_cells(frame: Any, roles: Columns, where: str) -> Any:
    """The label of every row, as a pandas.Series; of several columns of 0 and 1 the list of those
    that hold a 1.
    """
    import pandas as pd

    for column in roles.labels:
        if column not in frame:
            there = ", ".join(map(str, frame.columns))
            raise QuestionError(f"no column {column!r} in {where}; it has: {there}.")
    if len(roles.labels) == 1:
        return frame[roles.labels[0]]
    marks = {column: _marks(frame[column], column, where) for column in roles.labels}
    missing = np.any([mark < 0 for mark in marks.values()], axis=0)
    sets: list[Any] = [
        None if missing[place] else [name for name, mark in marks.items() if mark[place]]
        for place in range(len(frame))
    ]
    return pd.Series(sets, index=frame.index, dtype=object)


def _marks(column: Any, name: str, where: str) -> NDArray[np.int64]:
    """1 where the cell says yes, 0 where it says no, -1 where it is empty."""
    found = np.full(len(column), -1)
    for place, cell in enumerate(column):
        text = "" if is_missing(cell) else name_of(cell).lower()
        if text in ("1", "true"):
            found[place] = 1
        elif text in ("0", "false"):
            found[place] = 0
        elif text:
            row = column.index[place] + 1
            raise QuestionError(
                f"row {row} of {where} has {str(cell)[:60]!r} in column {name!r}; a column for "
                "each label holds 0 or 1."
            )
    return found


def is_missing(cell: Any) -> bool:
    """Whether a cell holds no label: nothing, no number, or blank text."""
    import pandas as pd

    if isinstance(cell, str):
        return not cell.strip()
    return bool(pd.api.types.is_scalar(cell) and pd.isna(cell))


def unlabelled(cells: Any) -> NDArray[np.bool_]:
    """(n,): the rows whose label is missing."""
    return np.array([is_missing(cell) for cell in cells], dtype=bool)


def check_complete(column: LabelColumn) -> None:
    """`QuestionError` with the rows' numbers if a row has no label, or one of a book's length."""
    for split, cells in column.cells.items():
        missing = unlabelled(cells)
        if missing.any():
            rows = (cells.index[missing] + 1).tolist()
            raise QuestionError(
                f"{len(rows):,} of {len(cells):,} rows of {split} of {column.origin} have no label "
                f"in column {column.name!r} (row {numbered(rows)}); fill them in, or leave them "
                "out with --drop-unlabelled."
            )
        for place, cell in enumerate(cells):
            if isinstance(cell, str) and len(cell) > MOST_LABEL:
                raise QuestionError(
                    f"{column.row(split, place)} has {len(cell):,} characters in column "
                    f"{column.name!r}; is it the label? If not, --column label=NAME."
                )


def read_classes(column: LabelColumn) -> Targets:
    """Class numbers (n,) int64; named by the files, or by their own distinct values.

    `QuestionError` for labels that are lists, one class only, or labels that train does not have.
    """
    check_scalar(column)
    names = column.class_names
    texts = {split: [name_of(label) for label in cells] for split, cells in column.cells.items()}
    is_numbered = names is not None and all(map(WHOLE.fullmatch, set(texts["train"])))
    if names is not None and is_numbered:
        keys = [str(number) for number in range(len(names))]
    else:
        keys = _sorted(set(texts["train"]))
        names = tuple(keys)
    _check_classes(column, texts, set(keys))
    numbers = {key: number for number, key in enumerate(keys)}
    return Targets(
        {split: np.array([numbers[text] for text in found]) for split, found in texts.items()},
        names,
    )


def read_label_sets(column: LabelColumn) -> Targets:
    """1 where a row carries a label, else 0: (n, n_labels) float32; named by the files, or by their
    own distinct values.

    A cell is a list, a list written as text (`["a", "b"]`), or labels with `|`, `;` or `,` between.
    `QuestionError`, with the row, for anything else, and for labels that train does not have.
    """
    separator = _separator(column)
    sets = {
        split: [
            _label_set(cell, separator, column, split, place) for place, cell in enumerate(cells)
        ]
        for split, cells in column.cells.items()
    }
    there, names = set().union(*sets["train"]), column.class_names
    if names is not None and there <= set(names):
        keys = list(names)
    elif names is not None and all(map(WHOLE.fullmatch, there)):
        keys = [str(number) for number in range(len(names))]
    else:
        keys = _sorted(there)
        names = tuple(keys)
    _check_label_sets(column, sets, set(keys))
    numbers = {key: number for number, key in enumerate(keys)}
    return Targets({split: _marked(found, numbers) for split, found in sets.items()}, names)


def holds_lists(cells: Any) -> bool:
    """Whether the labels are lists, or lists written as text."""
    return len(cells) > 0 and all(
        _written_list(cell) is not None
        if isinstance(cell, str)
        else isinstance(cell, list | tuple | np.ndarray)
        for cell in cells
        if not is_missing(cell)
    )


def name_of(label: Any) -> str:
    """The label as text; 1, 1.0, "1", "1.0" and " 1" are the same label. Bytes that are no UTF-8
    stay apart, as `\\xff`.
    """
    if isinstance(label, float | np.floating) and float(label).is_integer():
        return str(int(label))
    is_bytes = isinstance(label, bytes)
    text = (label.decode("utf-8", "backslashreplace") if is_bytes else str(label)).strip()
    return text.partition(".")[0] if re.fullmatch(r"-?\d+\.0+", text) else text


def _marked(sets: list[set[str]], numbers: Mapping[str, int]) -> NDArray[np.float32]:
    marked = np.zeros((len(sets), len(numbers)), dtype=np.float32)
    for row, names in enumerate(sets):
        marked[row, [numbers[name] for name in names]] = 1
    return marked


def _separator(column: LabelColumn) -> str:
    texts = [cell for cells in column.cells.values() for cell in cells if isinstance(cell, str)]
    return next((one for one in SEPARATORS if any(one in text for text in texts)), SEPARATORS[0])


def _label_set(cell: Any, separator: str, column: LabelColumn, split: str, place: int) -> set[str]:
    """The labels of one row."""
    labels = cell
    if isinstance(cell, str):
        labels = _written_list(cell)
        labels = cell.split(separator) if labels is None else labels
    if not isinstance(labels, list | tuple | np.ndarray):
        raise QuestionError(
            f"{column.row(split, place)} has {str(cell)[:60]!r} in column {column.name!r}; the "
            "labels of a row are a list of names, or names with | between."
        )
    for label in labels:
        if isinstance(label, list | tuple | dict | np.ndarray) or is_missing(label):
            raise QuestionError(
                f"{column.row(split, place)} has {str(label)[:60]!r} among the labels in column "
                f"{column.name!r}; a label is one text or number."
            )
    return {name_of(label) for label in labels}


def _written_list(text: str) -> list[Any] | None:
    """The list that a text writes, as JSON or as Python does; None where it writes none."""
    text = text.strip()
    if not (text.startswith("[") and text.endswith("]")):
        return None
    for read in (json.loads, ast.literal_eval):
        try:
            found = read(text)
        except (ValueError, SyntaxError, RecursionError, MemoryError):
            continue
        return found if isinstance(found, list) else None
    return None


def _check_label_sets(
    column: LabelColumn, sets: Mapping[str, list[set[str]]], known: set[str]
) -> None:
    there, n_rows = set().union(*sets["train"]), len(sets["train"])
    if len(there) < 2:
        raise QuestionError(
            f"{column.where} has {len(there)} label ({_listed(there)}) in train; two or more are "
            "needed, and of one label a row --goal classes learns whether it is there."
        )
    if not column.is_certain and len(there) > MOST_CLASSES:
        raise QuestionError(
            f"{column.where} holds {len(there):,} different labels in {n_rows:,} rows of train; is "
            "it the label? If not, --column label=NAME; if so, --goal labels."
        )
    for split, found in sets.items():
        allowed = known if split == "train" else known & there
        for place, labels in enumerate(found):
            if extra := labels - allowed:
                raise QuestionError(
                    f"{column.row(split, place)} has {_listed(extra)} in column {column.name!r}; "
                    f"the labels of train are {_listed(allowed)}."
                )


def check_scalar(column: LabelColumn) -> None:
    """`QuestionError`, with the row, for a label that is a list or the like."""
    import pandas as pd

    for split, cells in column.cells.items():
        for place, label in enumerate(cells):
            if not pd.api.types.is_scalar(label):
                raise QuestionError(
                    f"{column.row(split, place)} has a {type(label).__name__} in column "
                    f"{column.name!r}: {str(label)[:60]!r}; a label is one text or number "
                    "(--goal labels learns lists of them)."
                )


def _check_classes(column: LabelColumn, texts: dict[str, list[str]], known: set[str]) -> None:
    there, n_rows, where = set(texts["train"]), len(texts["train"]), column.where
    if len(there) < 2:
        raise QuestionError(
            f"one class only in train, {where}: every label is {next(iter(there))!r}; two or more "
            "are needed."
        )
    is_much = len(there) > MOST_CLASSES or (len(there) * 2 > n_rows and len(there) > 20)
    if is_much and not column.is_certain:
        raise QuestionError(
            f"{where} holds {len(there):,} different labels in {n_rows:,} rows of train; is it the "
            "label? If not, --column label=NAME; if so, for data of your own, --goal numbers "
            "(scores) or --goal classes."
        )
    for split, found in texts.items():
        extra = set(found) - (known & there if split != "train" else known)
        if extra:
            rest = (
                f"train has {_listed(there)}"
                if split != "train"
                else f"the named classes are {_listed(known)}"
            )
            raise QuestionError(
                f"labels differ between splits, {where}: {split} has {_listed(extra)}; {rest}."
            )


def _sorted(names: set[str]) -> list[str]:
    """Whole numbers by size (01 and 1 are two classes of one), anything else by text."""
    in_order = sorted(names)
    return sorted(in_order, key=int) if all(map(WHOLE.fullmatch, names)) else in_order


def _listed(names: set[str]) -> str:
    some = ", ".join(name[:60] for name in _sorted(names)[:8])
    return some if len(names) <= 8 else f"{some}, ... ({len(names):,} in all)"
