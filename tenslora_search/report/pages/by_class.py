"""by_class(): what the picks find of each class or label, on the report rows of their retests."""

from collections.abc import Sequence

from tenslora_search.report.cutting import MOST_IN_ROW, cut
from tenslora_search.report.markup import Markup, join, outside, table, tag
from tenslora_search.report.pareto import front, picks_of
from tenslora_search.report.reading import RunRecord

Counts = Sequence[Sequence[int]]
ABOUT = (
    "On the report rows, all fresh seeds of a trial together: {}. Precision: of the rows that were "
    "given the class, the share that has it; recall: of the rows that have it, the share that was "
    "found; F1: their harmonic mean. Rows: how many of the report rows have it; a class of few "
    "rows says little."
)


def by_class(record: RunRecord) -> Markup | None:
    """Precision, recall, F1 and rows of each class, for each pick."""
    picks = picks_of(front(record.rows), record.typical_noise("select"))
    names: dict[int, list[str]] = {}
    for name, number in picks.items():
        names.setdefault(number, []).append(name)
    counts = {number: found for number in names if (found := counts_of(record, number))}
    if not counts:
        return None
    n_classes = min(len(found) for found in counts.values())
    labels = record.file.labels
    heads = [f"{number}: {what}" for number in counts for what in ("precision", "recall", "F1")]
    cells = [
        (
            outside(cut(labels[k], MOST_IN_ROW)) if k < len(labels) else k,
            f"{_rows(record, next(iter(counts)), k):,}",
            *(share for found in counts.values() for share in shares(found[k])),
        )
        for k in range(n_classes)
    ]
    who = ", ".join(f"trial {number} is {' and '.join(names[number])}" for number in counts)
    found = table(("class", "rows", *heads), cells, class_="sortable")
    return join(tag("h2", "By class"), found, tag("p", ABOUT.format(who), class_="soft"))


def counts_of(record: RunRecord, number: int) -> list[list[int]]:
    """(found, given, there) of each class, all retests of a trial together; [] where none says."""
    told = [one.by_class for one in record.trials[number].retests.values() if one.by_class]
    if not told or len({len(one) for one in told}) > 1:
        return []
    return [
        [sum(numbers) for numbers in zip(*rows, strict=True)] for rows in zip(*told, strict=True)
    ]


def _rows(record: RunRecord, number: int, place: int) -> int:
    """Rows of a class in one retest."""
    told = [one.by_class for one in record.trials[number].retests.values() if one.by_class]
    return told[0][place][2]


def shares(counts: Sequence[int]) -> tuple[str, str, str]:
    """Precision, recall and F1; a dash where there is nothing to divide by."""
    found, given, there = counts
    pairs = ((found, given), (found, there), (2 * found, given + there))
    precision, recall, f1 = (f"{part / whole:.3f}" if whole else "-" for part, whole in pairs)
    return precision, recall, f1
