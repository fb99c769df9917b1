"""markdown(): a run as a report.md that fits a pull request: the front, LoRA beside it, what to
trust, how to do it again.
"""

import re
from collections.abc import Sequence

from tenslora_search.report.findings import against_best, beside_lora, zero_sentence
from tenslora_search.report.pages.choosing import heading, measured, report_score
from tenslora_search.report.pages.evidence import origins, trust_lines
from tenslora_search.report.pareto import front, picks_of
from tenslora_search.report.reading import RunRecord
from tenslora_search.report.rows import measures_of

NAMES = (
    "trial", "pick", "method", "ranks", "parameters", "select", "report", "beside the best",
)  # fmt: skip


def markdown(record: RunRecord) -> str:
    """The text; names from outside are escaped."""
    lines = [
        f"# {_text(record.title)}",
        "",
        f"Scored by {_text(record.file.metric)}. {_text(beside_lora(record))}",
        "",
        *([_text(zero), ""] if (zero := zero_sentence(record)) else []),
        *_front(record),
        *(f"- {_text(line)}" for line in trust_lines(record)),
        "",
        "<details><summary>Provenance</summary>",
        "",
        *_table(["", ""], list(map(list, origins(record).items()))),
        "",
        "</details>",
    ]
    return "\n".join(lines) + "\n"


def _front(record: RunRecord) -> list[str]:
    """The front as a table, with its picks; nothing where there is none."""
    rows, words = front(record.rows), against_best(record)
    if not rows:
        return []
    measures = measures_of(rows)
    picks = picks_of(rows, record.typical_noise("select"))
    cells = [
        [
            str(row.number),
            ", ".join(name for name, number in picks.items() if number == row.number),
            row.label,
            row.ranks,
            f"{row.n_params:,}",
            f"{row.score:.4f}",
            report_score(row),
            words.get(row.number, "-"),
            *(measured(row, name) for name in measures),
        ]
        for row in rows
    ]
    return [
        *_table([*NAMES, *map(heading, measures)], cells),
        "",
        "![score against parameters](front.png)",
        "",
    ]


def _table(names: Sequence[str], rows: Sequence[Sequence[str]]) -> list[str]:
    marks = [f"| {' | '.join(names)} |", "|" + " --- |" * len(names)]
    return marks + [f"| {' | '.join(_text(cell) for cell in row)} |" for row in rows]


def _text(text: str) -> str:
    """One line in which nothing is markdown or HTML."""
    return re.sub(r"([\\`*_\[\]<>|#&~])", r"\\\1", " ".join(str(text).split()))
