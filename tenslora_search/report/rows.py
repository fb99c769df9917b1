"""Row: one trial as a report sees it; COLUMNS: what a table of trials holds; frame(): such a table
for users.
"""

import csv
import math
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, fields
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from pandas import DataFrame

Value = str | int | float | bool | None
"""What stands in a cell of a table."""


@dataclass(frozen=True, slots=True)
class Row:
    """A trial with all that is known of it; a number that is not known is nan."""

    number: int
    state: str
    """complete, paused, running or failed"""
    method: str
    construction: str
    decomposition: str
    ranks: str
    """8,8,3; where copies have ranks of their own 8,8,3 | 4,4,1"""
    n_params: int
    head_params: int
    """of the task head, which is counted beside the adapter"""
    score: float
    """on select, at the last rung"""
    report_score: float
    """mean over the fresh seeds of the retest"""
    report_std: float
    step: int
    seconds: float
    reason: str
    """why it failed, else empty"""
    n_retests: int
    bytes: int
    """of the factors in float32"""
    extra_macs: float
    """multiply-adds a token that the unmerged adapter adds"""
    peak_memory_mb: float
    """its share of its pack's, while training"""
    completed_at: float
    """worker-seconds of the search until then"""
    settings: Mapping[str, Value]
    """what its specification says besides, by the names of SETTINGS"""

    @property
    def is_complete(self) -> bool:
        return self.state == "complete"

    def value(self, column: str) -> Value:
        """What stands in a column of COLUMNS."""
        if column in FIELDS:
            return getattr(self, column)
        return self.settings.get(column)


SETTINGS = (
    "scale", "alpha", "head_layout", "learning_rate", "head_learning_rate", "weight_decay", "clip",
    "warmup", "rule", "seed",
)  # fmt: skip
"""What a trial's specification says besides construction, decomposition and ranks."""
FIELDS = tuple(field.name for field in fields(Row) if field.name != "settings")
COLUMNS = (*FIELDS, *SETTINGS)


def frame(rows: Iterable[Row]) -> "DataFrame":
    """The rows as a table of COLUMNS."""
    import pandas as pd

    cells = [[row.value(name) for name in COLUMNS] for row in rows]
    made = pd.DataFrame(cells, columns=list(COLUMNS))
    return made.astype({one.name: one.type for one in fields(Row) if one.type in (int, float)})


def write_csv(rows: Iterable[Row], path: Path) -> None:
    """The same table as a file; what is not known is left empty."""
    with path.open("w", encoding="utf-8", newline="") as file:
        writer = csv.writer(file, lineterminator="\n")
        writer.writerow(COLUMNS)
        for row in rows:
            cells = [row.value(name) for name in COLUMNS]
            writer.writerow(["" if is_unknown(cell) else cell for cell in cells])


def is_unknown(value: object) -> bool:
    return value is None or (isinstance(value, float) and math.isnan(value))
