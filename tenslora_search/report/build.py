"""build(): a run folder's report.html, report.md, result.json, front.csv, trials.csv, front.png,
front.svg and front.pdf, from the folder alone.
"""

import base64
import hashlib
import html
import json
from collections.abc import Iterable, Mapping
from pathlib import Path

from tenslora_search.report.markdown import markdown
from tenslora_search.report.markup import Markup, data, tag
from tenslora_search.report.pages import PAGES
from tenslora_search.report.pareto import front
from tenslora_search.report.payload import payload
from tenslora_search.report.plots import front_figures
from tenslora_search.report.reading import RunRecord, read_run
from tenslora_search.report.result import result
from tenslora_search.report.rows import columns_of, write_csv
from tenslora_search.runs.journal import check_not_emptied
from tenslora_search.spec.table import QuestionError

SCRIPTS = ("base.js", "save.js", "front.js", "chosen.js", "trials.js", "start.js")
"""Of `page/`, in the order in which they stand in the page."""


def build(folder: str | Path) -> RunRecord:
    """Writes the eight files; `QuestionError` if the folder holds no run, or cannot be written."""
    record = read_run(folder)
    check_not_emptied(record.folder)
    try:
        columns = columns_of(record.rows)
        write_csv(front(record.rows), columns, record.folder / "front.csv")
        write_csv(record.rows, columns, record.folder / "trials.csv")
        front_figures(record, record.folder)
        text = json.dumps(result(record), indent=2) + "\n"
        (record.folder / "result.json").write_text(text, encoding="utf-8", errors="replace")
        for name, text in (("report.md", markdown(record)), ("report.html", page(record))):
            # a command may name a folder whose name is no UTF-8
            (record.folder / name).write_text(text, encoding="utf-8", errors="replace")
    except OSError as error:
        raise QuestionError(
            f"cannot write the report in {record.folder}: {error.strerror}."
        ) from error
    return record


def page(record: RunRecord) -> str:
    """The report of one run as a self-contained HTML page."""
    file, n_trials = record.file, len(record.trained)
    n_complete = sum(one.is_complete for one in record.trained)
    beside = f" (the task head has {file.head_params:,} more)" if file.head_params else ""
    about = (
        f"{file.metric}, at most {file.budget:,} adapter parameters{beside}. "
        f"{n_trials:,} trial{'s' if n_trials != 1 else ''}, {n_complete:,} complete, "
        f"{record.worker_seconds:,.0f} worker-seconds."
    )
    sections = {name: entry(record) for name, entry in PAGES.items()}
    return shell(record.title, about, sections, data(payload(record), "data"))


def shell(title: str, about: str, sections: Mapping[str, Markup | None], extra: str = "") -> str:
    """Sections as a page with its style and script inside; its policy lets this one script run and
    nothing be fetched.
    """
    here = Path(__file__).parent / "page"
    script = "\n" + "".join(_texts(here / name for name in SCRIPTS))
    digest = base64.b64encode(hashlib.sha256(script.encode()).digest()).decode()
    parts = {
        "$policy": "default-src 'none'; img-src data:; style-src 'unsafe-inline'; script-src "
        f"'sha256-{digest}'",
        "$title": html.escape(title),
        "$style": "".join(_texts([here / "page.css"])),
        "$heading": tag("bdi", title),
        "$about": tag("bdi", about),
        "$sections": "\n".join(
            tag("section", section, id=name) for name, section in sections.items() if section
        ),
        "$data": extra,
        "$script": script,
    }
    pieces = "".join(_texts([here / "page.html"])).split("\n")
    return "\n".join(_filled(piece, parts) for piece in pieces)


def _filled(line: str, parts: Mapping[str, str]) -> str:
    """The line with its place filled; what is filled in is not looked at again."""
    for name, text in parts.items():
        before, found, after = line.partition(name)
        if found:
            return before + text + _filled(after, parts)
    return line


def _texts(paths: Iterable[Path]) -> Iterable[str]:
    return (path.read_text(encoding="utf-8") for path in paths)
