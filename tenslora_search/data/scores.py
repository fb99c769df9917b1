"""A label column of scores read: a number a row."""

from typing import Any

import numpy as np
from numpy.typing import NDArray

from tenslora_search.data.labels import LabelColumn, Targets, check_scalar
from tenslora_search.spec.table import QuestionError


def read_numbers(column: LabelColumn) -> Targets:
    """Scores (n,) float32; `QuestionError` for what is no number, or always the same one."""
    check_scalar(column)
    return Targets({split: _scores(column, split) for split in column.cells})


def holds_fractions(cells: Any) -> bool:
    """Whether all labels are numbers and not all of them whole ones."""
    import pandas as pd

    if not all(pd.api.types.is_scalar(cell) for cell in cells):
        return False
    if any(isinstance(label, bool | np.bool_) for label in cells):
        return False
    numbers = _numbers(cells)
    return bool(np.isfinite(numbers).all() and (numbers != np.rint(numbers)).any())


def _scores(column: LabelColumn, split: str) -> NDArray[np.float32]:
    cells = column.cells[split]
    with np.errstate(over="ignore"):  # what is too large for the type is named below
        scores = _numbers(cells).astype(np.float32)
    wrong = np.flatnonzero(~np.isfinite(scores))
    if len(wrong):
        raise QuestionError(
            f"{column.row(split, int(wrong[0]))} has no number in column {column.name!r}: "
            f"{str(cells.iloc[wrong[0]])[:60]!r}; a score must be one."
        )
    if np.ptp(scores) == 0:
        raise QuestionError(
            f"every label is {scores[0]:g} in {split}, {column.where}; there is nothing to learn."
        )
    return scores


def _numbers(cells: Any) -> NDArray[np.float64]:
    """(n,): not finite where a cell is no number, or too large a one."""
    import pandas as pd

    try:
        numbers: Any = pd.to_numeric(cells, errors="coerce")
    except OverflowError:  # of a whole number of 400 digits
        numbers = pd.to_numeric(cells.astype(str), errors="coerce")
    return numbers.to_numpy(dtype=np.float64)
