"""result(): a run's results as JSON, in the form of result.schema.json; it stands in the run folder
as result.json, and `--json` prints it.
"""

import math
from pathlib import Path
from typing import Any

from tenslora_search.report.pareto import front, picks_of
from tenslora_search.report.reading import RunRecord
from tenslora_search.report.rows import Row, Value, columns_of

SCHEMA = Path(__file__).with_name("result.schema.json")
VERSION = 1
"""Of the form: a field may be added in it; one that goes or means something else makes another."""


def result(record: RunRecord) -> dict[str, Any]:
    """The front, best score first, the picks, and the proof that all fit the budget."""
    file, columns, leaders = record.file, columns_of(record.rows), front(record.rows)
    picks = picks_of(leaders, record.typical_noise("select"))
    proof = {"checked": len(record.rows), "over": record.over_budget}
    on_select, again = record.zero
    zero = {"score": None if math.isnan(on_select) else on_select, "report_scores": list(again)}
    return {
        "version": VERSION,
        "folder": str(record.folder),
        "task": file.task,
        "model": file.model,
        "metric": file.metric,
        "budget": file.budget,
        "seed": file.question.seed,
        "trials": len(record.rows),
        "complete": len(record.complete),
        "worker_seconds": record.worker_seconds,
        "zero": zero,
        "picks": picks,
        "front": [_plain(one, columns) for one in leaders],
        "proof": proof,
    }


def _plain(row: Row, columns: list[str]) -> dict[str, Value]:
    """What is not known is null."""
    cells = {name: row.value(name) for name in columns}
    return {
        name: None if isinstance(one, float) and not math.isfinite(one) else one
        for name, one in cells.items()
    }
