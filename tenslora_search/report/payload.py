"""payload(): what the page's script needs of a run, as small as it can be: one list a trial,
constants said once.
"""

import math
import shlex
import statistics
from collections.abc import Sequence
from typing import Any

from tenslora_search.report.looks import baselines, outline
from tenslora_search.report.pareto import front, picks_of
from tenslora_search.report.reading import RunRecord
from tenslora_search.report.rows import Row, Value, measures_of, settings_of

FIELDS = (
    "number", "state", "method", "construction", "decomposition", "ranks", "n_params", "bytes",
    "extra_macs", "lora_rank", "lora_bytes", "peak_memory_mb", "seconds", "score", "report_score",
    "report_std", "n_retests", "step", "reason", "estimate", "estimate_error",
    "on_front", "cut_from",
)  # fmt: skip
AXES = {
    "n_params": "trainable parameters",
    "bytes": "bytes of the factors (float32)",
    "lora_rank": "rank of the LoRA checkpoint (largest of any map)",
    "lora_bytes": "bytes of the LoRA checkpoint (float32)",
    "extra_macs": "extra multiply-adds a token, unmerged",
    "peak_memory_mb": "peak training memory, MB a trial",
    "seconds": "training time, seconds a trial",
    "forgetting": "rise of the loss on text to be retained, nats a token",
}
"""What the front can be drawn against; one without a value is not offered."""
MARK_SIZE = 7


def payload(record: RunRecord) -> dict[str, Any]:
    """Columns and rows of all trials, and what they stand beside."""
    rows, curves, leaders = record.rows, record.curves, front(record.rows)
    again = record.zero[1]
    settings = varying(rows)
    measures = measures_of(rows)
    columns = [*FIELDS, *measures, *settings]
    cells = [
        [*(_plain(one.value(name)) for name in columns), _curve(curves.get(one.number, []))]
        for one in rows
    ]
    alike = [name for name in settings_of(rows) if name not in settings]
    return {
        "columns": [*columns, "curve"],
        "rows": cells,
        "common": {name: _plain(rows[0].value(name)) for name in alike},
        "settings": settings_of(rows),
        "front": [one.number for one in leaders],
        "picks": picks_of(leaders, record.typical_noise("select")),
        "axes": {name: label for name, label in AXES.items() if _is_known(rows, name)},
        "measures": measures,
        "looks": _looks(rows),
        "budget": record.file.budget,
        "zero": [_plain(record.zero[0]), _plain(statistics.fmean(again)) if again else None],
        "metric": record.file.metric,
        "folder": str(record.folder),
        "shell": shlex.quote(str(record.folder)),
    }


def varying(rows: Sequence[Row]) -> list[str]:
    """The settings in which trials differ."""
    return [name for name in settings_of(rows) if len({one.value(name) for one in rows}) > 1]


def _looks(rows: Sequence[Row]) -> list[tuple[str, str, int]]:
    """(name, path, colour) of each named method that a trial has."""
    present = {one.method for one in rows}
    return [
        (name, outline(look.shape, MARK_SIZE), look.colour)
        for name, look in baselines().items()
        if name in present
    ]


def _is_known(rows: Sequence[Row], axis: str) -> bool:
    return any(isinstance(value := one.value(axis), int | float) and value > 0 for one in rows)


def _curve(points: Sequence[tuple[int, float]]) -> list[list[Value]]:
    return [[step, _plain(score)] for step, score in points]


def _plain(value: Value) -> Value:
    """A number for JSON: six digits are more than any chart or table shows; what is unknown is
    null.
    """
    if not isinstance(value, float):
        return value
    if not math.isfinite(value):
        return None
    return int(value) if value.is_integer() else float(f"{value:.6g}")
