"""PAGES: the sections of report.html, in order; each turns a run into markup, or into nothing where
it has nothing to show.
"""

from collections.abc import Callable

from tenslora_search.report.markup import Markup
from tenslora_search.report.pages.by_class import by_class
from tenslora_search.report.pages.by_method import by_method
from tenslora_search.report.pages.choosing import answer, chart, everything, members, side_by_side
from tenslora_search.report.pages.evidence import equal_sizes, progress, provenance, trust
from tenslora_search.report.pages.heat import rank_heat
from tenslora_search.report.pages.insight import by_choice, importance, rank_profile, rung_curves
from tenslora_search.report.pages.parallel import parallel
from tenslora_search.report.reading import RunRecord
from tenslora_search.spec.table import Table

PAGES: Table[Callable[[RunRecord], Markup | None]] = Table(
    "page",
    {
        entry.__name__: entry
        for entry in (
            answer, chart, members, by_class, by_method, equal_sizes, side_by_side, everything,
            by_choice, parallel, rank_profile, rank_heat, importance, rung_curves, trust, progress,
            provenance,
        )
    },
)  # fmt: skip
