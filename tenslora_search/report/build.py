"""build(): a run folder's front.csv, trials.csv, front.png and report.html, from run.json and trials.jsonl alone."""

import html
from pathlib import Path

from tenslora_search.report.pages import PAGES
from tenslora_search.report.pareto import front
from tenslora_search.report.plots import front_figure
from tenslora_search.report.reading import RunRecord, read_run
from tenslora_search.spec.table import QuestionError


def build(folder: str | Path) -> RunRecord:
    """Writes the four files; `QuestionError` if the folder holds no run, or cannot be written."""
    record = read_run(folder)
    try:
        front(record.trials).to_csv(record.folder / "front.csv", index=False)
        record.trials.to_csv(record.folder / "trials.csv", index=False)
        front_figure(record, record.folder / "front.png")
        (record.folder / "report.html").write_text(page(record), encoding="utf-8")
    except OSError as error:
        raise QuestionError(f"cannot write the report in {record.folder}: {error.strerror}.") from error
    return record


def page(record: RunRecord) -> str:
    """The report as one self-contained HTML page."""
    title = html.escape(f"{record.file['task']} on {record.file['model']}")
    sections = "\n".join(f'<section id="{name}">{entry(record)}</section>' for name, entry in PAGES.items())
    template = (Path(__file__).parent / "template.html").read_text(encoding="utf-8")
    return template.replace("$title", title).replace("$sections", sections)
