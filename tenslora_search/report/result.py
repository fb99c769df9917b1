"""result(): a run's results as JSON, in the form of result.schema.json; it stands in the run folder
as result.json, and `--json` prints it.
"""

import math
from pathlib import Path
from typing import Any, cast

from tenslora_search.report.pareto import front, picks_of
from tenslora_search.report.reading import RunRecord, adapter_of
from tenslora_search.report.rows import Row, Value, columns_of
from tenslora_search.runs.replay import Record

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
        "front": [
            {**_plain(one, columns), "ranks_by_bond": _by_bond(record.trials[one.number])}
            for one in leaders
        ],
        "proof": proof,
    }


def _by_bond(trial: Record) -> dict[str, int | list[int]] | None:
    """Ranks by the names of their bonds, a list where copies have ranks of their own; None where
    this version does not know the specification.
    """
    adapter = adapter_of(trial)
    if adapter is None:
        return None
    bonds, ranks = adapter.structure.bonds, cast("tuple[Any, ...]", adapter.ranks)
    if adapter.is_per_copy:
        return {name: [one[k] for one in ranks] for k, name in enumerate(bonds)}
    return dict(zip(bonds, ranks, strict=True))


def _plain(row: Row, columns: list[str]) -> dict[str, Value]:
    """What is not known is null."""
    cells = {name: row.value(name) for name in columns}
    return {
        name: None if isinstance(one, float) and not math.isfinite(one) else one
        for name, one in cells.items()
    }
