"""Row: one trial as a report sees it; columns_of(): what a table of trials holds; frame(): such a
table for users.
"""

import csv
import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, fields
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from pandas import DataFrame  # pyright: ignore[reportMissingTypeStubs]

Value = str | int | float | bool | None
"""What stands in a cell of a table."""
CUT = ", cut down"
"""Behind the method of an adapter that was not trained at its size."""


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
    """what its specification says besides, by the names of `TrialSpec.columns`"""
    measures: Mapping[str, float] = field(default_factory=dict[str, float])
    """what the retest measured besides, means over the fresh seeds; and a score as the number that
    people know it by
    """
    lora_rank: float = math.nan
    """the largest rank of a map in its LoRA checkpoint; not known of a dense update"""
    lora_bytes: float = math.nan
    """of that checkpoint, without the task head"""
    n_nonzero: int = 0
    """trained numbers that training has left in terms that are not zero; 0 before the first rung"""
    estimate: float = math.nan
    """its score on select at the end, over seeds, by a model of all scores (estimates.py)"""
    estimate_error: float = math.nan
    """the estimate's standard error"""
    on_front: float = math.nan
    """how likely no trial that is not larger scores higher"""
    cut_from: int | None = None
    """the trial whose trained adapter it is, cut down"""

    @property
    def worth(self) -> float:
        """What it is judged by: its estimate; its own score where there is none."""
        return self.score if math.isnan(self.estimate) else self.estimate

    @property
    def label(self) -> str:
        """Its method; of a cut, what it was cut from."""
        if self.cut_from is None:
            return self.method
        return f"{self.method.removesuffix(CUT)}, cut from trial {self.cut_from}"

    @property
    def is_complete(self) -> bool:
        return self.state == "complete"

    def value(self, column: str) -> Value:
        """What stands in a column of a table."""
        if column in FIELDS:
            return getattr(self, column)
        return self.settings.get(column, self.measures.get(column))


FIELDS = tuple(one.name for one in fields(Row) if one.name not in ("settings", "measures"))


def settings_of(rows: Iterable[Row]) -> list[str]:
    """All names of settings; knobs are those of some trials alone."""
    return list(dict.fromkeys(name for row in rows for name in row.settings))


def measures_of(rows: Iterable[Row]) -> list[str]:
    """All names of measures."""
    return list(dict.fromkeys(name for row in rows for name in row.measures))


def columns_of(rows: Sequence[Row]) -> list[str]:
    """The columns of a table of these trials."""
    return [*FIELDS, *measures_of(rows), *settings_of(rows)]


def frame(rows: Sequence[Row], columns: Sequence[str] | None = None) -> "DataFrame":
    """The rows as a table, with these columns or those of `columns_of`."""
    import pandas as pd  # pyright: ignore[reportMissingTypeStubs]

    names = columns_of(rows) if columns is None else columns
    cells = [[row.value(name) for name in names] for row in rows]
    made = pd.DataFrame(cells, columns=list(names))
    kinds = {one.name: one.type for one in fields(Row) if one.type in (int, float)}
    return made.astype(kinds)  # pyright: ignore[reportUnknownMemberType]


def write_csv(rows: Iterable[Row], columns: Sequence[str], path: Path) -> None:
    """The rows as a file; what is not known is left empty."""
    with path.open("w", encoding="utf-8", newline="") as file:
        writer = csv.writer(file, lineterminator="\n")
        writer.writerow(columns)
        for row in rows:
            cells = [row.value(name) for name in columns]
            writer.writerow(["" if is_unknown(cell) else cell for cell in cells])


def is_unknown(value: object) -> bool:
    return value is None or (isinstance(value, float) and math.isnan(value))
