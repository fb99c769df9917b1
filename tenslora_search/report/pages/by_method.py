"""The methods of a search, or of several, each by its best trial: score, size, time, and what it
costs where it is served.
"""

import math
from collections.abc import Mapping

from tenslora_search.report.markup import Markup, join, outside, table, tag
from tenslora_search.report.pages.choosing import report_score
from tenslora_search.report.reading import RunRecord
from tenslora_search.report.rows import Row, is_unknown

NAMES = (
    "method", "complete of", "best: select", "report (fresh seeds)", "parameters",
    "not zero in the end", "seconds", "extra multiply-adds a token",
)  # fmt: skip
ABOUT = (
    "Each method by its best trial: of the complete ones, or of those that were taken furthest "
    "before they were paused, which the step says. After select stands the noise of one score on "
    "so many rows; after report the standard deviation over fresh seeds, of those trials that were "
    "trained again. Not zero in the end: parameters in terms that training has not shut. The last "
    "column is what an adapter that is not merged adds where it is served; merged into the "
    "weights, which any method can be, none adds anything."
)


def by_method(record: RunRecord) -> Markup | None:
    """Each method by its best trial, the best first."""
    if not best_by_method(record):
        return None
    cells = [_cells(record, row) for row in best_by_method(record)]
    found = table(NAMES, cells, n_text=1, class_="sortable")
    return join(tag("h2", "By method"), found, tag("p", ABOUT, class_="soft"))


def by_method_and_run(runs: Mapping[str, RunRecord]) -> Markup | None:
    """The same of several runs, in one table."""
    cells = [
        (outside(name), *_cells(record, row))
        for name, record in runs.items()
        for row in best_by_method(record)
    ]
    if not cells:
        return None
    found = table(("run", *NAMES), cells, n_text=2, class_="sortable")
    return join(tag("h2", "By method"), found, tag("p", ABOUT, class_="soft"))


def best_by_method(record: RunRecord) -> list[Row]:
    """The trial of each method with the highest select score (of equal ones the smallest), of those
    that are complete, or else stand highest; complete ones first, then the best.
    """
    scored = [one for one in record.rows if not math.isnan(one.score)]
    ranked = sorted(
        scored, key=lambda one: (not one.is_complete, -one.step, -one.score, one.n_params)
    )
    best: dict[str, Row] = {}
    for row in ranked:
        best.setdefault(row.method, row)
    return list(best.values())


def _cells(record: RunRecord, row: Row) -> tuple[object, ...]:
    alike = [one for one in record.rows if one.method == row.method]
    n_complete = sum(one.is_complete for one in alike)
    at = "" if row.is_complete else f", step {row.step:,}"
    extra = "-" if is_unknown(row.extra_macs) else f"{row.extra_macs:,.0f}"
    return (
        outside(row.method),
        f"{n_complete:,} / {len(alike):,}",
        f"{row.score:.4f} ± {record.typical_noise('select'):.4f}{at}",
        report_score(row),
        f"{row.n_params:,}",
        f"{row.n_nonzero:,}",
        f"{row.seconds:,.1f}",
        extra,
    )
