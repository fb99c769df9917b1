"""compare(): several runs on one page: tasks, seeds, budgets or spaces side by side. COMPARISONS:
its sections.
"""

import logging
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path

from tenslora_search.report.build import shell
from tenslora_search.report.comparing import band, drawn_band, equal_sizes, settings, standings
from tenslora_search.report.findings import beside_lora
from tenslora_search.report.looks import Look, look
from tenslora_search.report.markup import Markup, bullets, figure, join, outside, table, tag
from tenslora_search.report.pages.by_method import by_method_and_run
from tenslora_search.report.pages.choosing import report_score
from tenslora_search.report.pareto import front, hypervolume, picks_of
from tenslora_search.report.reading import RunRecord, read_run, still_running
from tenslora_search.report.rows import Row
from tenslora_search.report.svg import SHAPES, Chart, bounds
from tenslora_search.spec.paths import is_dir, is_file, leads_nowhere, output_folder, shown, typed
from tenslora_search.spec.table import QuestionError, Table

LOGGER = logging.getLogger("tenslora_search")

Runs = Mapping[str, RunRecord]


def compare(folders: Sequence[str | Path], out: str | Path) -> Path:
    """Writes the page; `QuestionError` if a folder holds no run, or the page cannot be written or
    would take the place of something else.
    """
    out = typed(out)
    with _errors_told(out):
        _check_page(out)
    places = [typed(folder).resolve() for folder in folders]
    if twice := next((one for one in places if places.count(one) > 1), None):
        raise QuestionError(f"{twice} is named twice; compare takes runs that differ.")
    records = [read_run(folder) for folder in folders]
    runs = dict(zip(_names(records), records, strict=True))
    sections = {name: entry(runs) for name, entry in COMPARISONS.items()}
    about = (
        "Scores compare within one task, model and score only; each chart holds the runs that "
        "share these."
    )
    page = shell(f"{len(runs)} searches side by side", about, sections)
    output_folder(out.parent)
    with _errors_told(out):
        out.write_text(page, encoding="utf-8", errors="replace")
    for line in still_running(records):
        LOGGER.warning("%s", line)
    if len(records) == 1:
        LOGGER.warning("one run only: name two or more to compare them")
    return out


@contextmanager
def _errors_told(out: Path) -> Iterator[None]:
    try:
        yield
    except OSError as error:
        raise QuestionError(f"cannot write {shown(out)}: {error.strerror}.") from error


def _check_page(out: Path) -> None:
    if is_dir(out):
        raise QuestionError(f"cannot write {out}: it is a folder.")
    if leads_nowhere(out):
        raise QuestionError(f"cannot write {out}: it is a link that leads nowhere.")
    if not is_file(out):
        return
    with out.open("rb") as content:
        is_ours = PAGE_SIGN.encode() in content.read(2**16)
    if not is_ours:
        raise QuestionError(f"{shown(out)} is no page of runs; choose another --out.")


PAGE_SIGN = "tenslora-search</title>"

RUNS = (
    "run", "task", "model", "score", "budget", "seed", "trials", "complete", "best: select",
    "report", "parameters", "smallest: parameters", "hypervolume", "worker-seconds",
    "over budget",
)  # fmt: skip


def runs_table(runs: Runs) -> Markup:
    """One row a run: what was asked and what came out."""
    floors = {key: _floor(group.values()) for key, group in _groups(runs).items()}
    cells = [_run(name, record, floors[_key(record)]) for name, record in runs.items()]
    about = (
        "Hypervolume: the area between a front and the lowest score of its task, over log10 "
        "of parameters up to the budget."
    )
    return join(
        tag("h2", "Runs"),
        table(RUNS, cells, n_text=4, class_="sortable"),
        tag("p", about, class_="soft"),
    )


def _run(name: str, record: RunRecord, floor: float) -> list[object]:
    """A run's cells, in the order of RUNS."""
    file, rows = record.file, front(record.rows)
    picked: list[object] = ["-"] * 5
    if rows:
        members = {one.number: one for one in rows}
        picks = picks_of(rows, record.typical_noise("select"))
        best, smallest = members[picks["best"]], members[picks["smallest"]]
        area = hypervolume(rows, floor=floor, budget=file.budget)
        sizes = [f"{best.n_params:,}", f"{smallest.n_params:,}"]
        picked = [f"{best.score:.4f}", report_score(best), *sizes, f"{area:.4f}"]
    asked = [outside(name), *map(outside, _key(record)), f"{file.budget:,}"]
    n_complete = sum(one.is_complete for one in record.trained)
    counts = [file.question.seed, f"{len(record.trained):,}", f"{n_complete:,}"]
    return [*asked, *counts, *picked, f"{record.worker_seconds:,.0f}", record.over_budget]


def fronts(runs: Runs) -> Markup:
    """The fronts of the runs that share task, model and score, in one chart each."""
    return join(*(_fronts(key, group) for key, group in _groups(runs).items()))


def findings(runs: Runs) -> Markup:
    """LoRA's best beside each run's front, in a sentence."""
    lines = (
        join(tag("b", outside(name)), ": ", outside(beside_lora(record)))
        for name, record in runs.items()
    )
    return join(tag("h2", "Beside LoRA"), bullets(lines))


MEMBERS = ("run", "trial", "method", "ranks", "parameters", "select", "report (fresh seeds)")


def members(runs: Runs) -> Markup | None:
    """All members of all fronts."""
    cells = [
        (
            outside(name),
            row.number,
            outside(row.method),
            outside(row.ranks),
            f"{row.n_params:,}",
            f"{row.score:.4f}",
            report_score(row),
        )
        for name, record in runs.items()
        for row in front(record.rows)
    ]
    if not cells:
        return None
    return join(tag("h2", "All fronts"), table(MEMBERS, cells, n_text=4, class_="sortable"))


COMPARISONS: Table[Callable[[Runs], Markup | None]] = Table(
    "comparison",
    {
        entry.__name__: entry
        for entry in (
            runs_table,
            fronts,
            findings,
            by_method_and_run,
            equal_sizes,
            standings,
            members,
        )
    },
)


def _fronts(key: Sequence[str], group: Runs) -> Markup:
    """One chart with the fronts of runs that share task, model and score."""
    task, model, metric = key
    title = tag("h2", outside(f"{task} on {model}"))
    fronts = {
        name: sorted(front(record.rows), key=lambda one: one.n_params)
        for name, record in group.items()
    }
    points = [one for members in fronts.values() for one in members]
    if not points:
        return join(title, tag("p", "No trial of these runs is complete."))
    budget = max(record.file.budget for record in group.values())
    spread = [value for one in points if one.n_retests for value in _ends(one)]
    chart = Chart(
        (min(one.n_params for one in points) * 0.85, budget * 1.1),
        bounds([*(one.worth for one in points), *spread]), "trainable parameters", metric,
        log_x=True, width=760, height=380,
    )  # fmt: skip
    parts, legend = [], []
    for place, runs in enumerate(settings(group).values()):
        parts += drawn_band(chart, runs, _colour(look(place)))
    for place, (name, members) in enumerate(fronts.items()):
        parts += _front(chart, name, members, look(place), group[name].file.budget)
        legend.append(_legend(name, look(place)))
    caption = (
        "Filled: select, by its estimate where there is one. Hollow with a bar: mean and standard "
        "deviation of report over fresh seeds."
    )
    if any(band(runs) for runs in settings(group).values()):
        caption += (
            " Band: mean and standard deviation, over the seeds of one setting, of the front at so "
            "many parameters."
        )
    about = f"{metric} against parameters of the fronts of {len(group)} runs"
    drawing = join(chart.drawn(*parts, about=about), tag("div", *legend, class_="legend"))
    return join(title, figure(drawing, caption))


def _front(
    chart: Chart, name: str, members: Sequence[Row], look: Look, budget: int
) -> list[Markup]:
    """A front as a line up to its budget, with a mark a member and one a retest."""
    if not members:
        return []
    line = [(one.n_params, one.worth) for one in members]
    stroke = f"stroke:{_colour(look)}"
    parts = [chart.steps([*line, (budget, line[-1][1])], style=stroke, class_="curve")]
    for one in members:
        about = (
            f"{name}, trial {one.number}: {one.method} {one.ranks}, {one.n_params:,} "
            f"parameters, {one.worth:.4f}"
        )
        filled = f"fill:{_colour(look)}"
        at = (one.n_params, one.worth)
        parts.append(chart.mark(at, look.shape, about, style=filled, class_="mark"))
        if one.n_retests:
            again = f"{about}; report {report_score(one)}"
            bar = [(one.n_params, end) for end in _ends(one)]
            at = (one.n_params, one.report_score)
            parts.append(chart.line(bar, style=stroke, class_="curve"))
            parts.append(chart.mark(at, look.shape, again, style=stroke, class_="mark open"))
    return parts


def _legend(name: str, look: Look) -> Markup:
    path = tag("path", d=SHAPES[look.shape], style=f"fill:{_colour(look)}")
    return tag("span", tag("svg", path, viewBox="-11 -8 22 16", aria_hidden="true"), outside(name))


def _colour(look: Look) -> str:
    return f"var(--mark-{look.colour})"


def _ends(one: Row) -> tuple[float, float]:
    spread = one.report_std if one.n_retests > 1 else 0.0
    return one.report_score - spread, one.report_score + spread


def _key(record: RunRecord) -> tuple[str, str, str]:
    file = record.file
    return file.task, file.model, file.metric


def _groups(runs: Runs) -> dict[tuple[str, str, str], dict[str, RunRecord]]:
    groups: dict[tuple[str, str, str], dict[str, RunRecord]] = {}
    for name, record in runs.items():
        groups.setdefault(_key(record), {})[name] = record
    return groups


def _floor(records: Iterable[RunRecord]) -> float:
    scores = [one.score for record in records for one in record.complete]
    return min(scores, default=0.0)


def _names(records: Sequence[RunRecord]) -> list[str]:
    """Folder names; whole paths where two are alike; numbered where a folder is given twice."""
    short = [record.folder.resolve().name for record in records]
    names = [
        name if short.count(name) == 1 else str(record.folder)
        for name, record in zip(short, records, strict=True)
    ]
    return [
        name if names.index(name) == place else f"{name} ({place + 1})"
        for place, name in enumerate(names)
    ]
