"""markdown(): a run as a report.md that fits a pull request: the front, LoRA beside it, what to
trust, how to do it again.
"""

import re
from collections.abc import Sequence

from tenslora_search.report.findings import (
    against_best,
    beside_lora,
    gap_sentence,
    noise_sentence,
    rows_sentence,
)
from tenslora_search.report.pages.choosing import report_score
from tenslora_search.report.pages.evidence import ends, origins, proof_sentence
from tenslora_search.report.pareto import PICKS, front, rows_of
from tenslora_search.report.reading import RunRecord


def markdown(record: RunRecord) -> str:
    """The text; names from outside are escaped."""
    rows, words = front(record.trials), against_best(record)
    picks = {name: pick(rows) for name, pick in PICKS.items()} if len(rows) else {}
    lines = [
        f"# {_text(record.title)}",
        "",
        f"Scored by {_text(record.file['metric'])}. {_text(beside_lora(record))}",
        "",
    ]
    if len(rows):
        cells = [
            [ str(row.number), ", ".join(name for name,
            number in picks.items() if number == row.number), row.method, row.ranks,
            f"{row.n_params:,}", f"{row.score:.4f}", report_score(row), words.get(row.number,
            "-"), ] for row in rows_of(rows)
        ]  # fmt: skip
        names = [
            "trial",
            "pick",
            "method",
            "ranks",
            "parameters",
            "select",
            "report",
            "beside the best",
        ]
        lines += [*_table(names, cells), "", "![score against parameters](front.png)", ""]
    trust = [
        proof_sentence(record),
        *ends(record),
        gap_sentence(record),
        noise_sentence(record),
        rows_sentence(record),
    ]
    lines += [f"- {_text(line)}" for line in trust if line]
    lines += [
        "",
        "<details><summary>Provenance</summary>",
        "",
        *_table(["", ""], list(map(list, origins(record).items()))),
        "",
        "</details>",
    ]
    return "\n".join(lines) + "\n"


def _table(names: Sequence[str], rows: Sequence[Sequence[str]]) -> list[str]:
    marks = [f"| {' | '.join(names)} |", "|" + " --- |" * len(names)]
    return marks + [f"| {' | '.join(_text(cell) for cell in row)} |" for row in rows]


def _text(text: str) -> str:
    """One line in which nothing is markdown or HTML."""
    return re.sub(r"([\\`*_\[\]<>|#&~])", r"\\\1", " ".join(str(text).split()))
