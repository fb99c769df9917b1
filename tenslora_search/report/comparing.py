"""Methods over several runs: their tables at equal sizes, average ranks, wins against LoRA; and the
mean front of runs that differ in their seeds alone.
"""

import math
import statistics
from collections.abc import Iterable, Mapping, Sequence
from typing import NamedTuple

from tenslora_search.report.cutting import cut
from tenslora_search.report.markup import Markup, join, outside, table, tag
from tenslora_search.report.methods import LEVEL, REFERENCE, Cell, cells, counted, sizes
from tenslora_search.report.pareto import front
from tenslora_search.report.reading import RunRecord, still_running
from tenslora_search.report.svg import Chart

Runs = Mapping[str, RunRecord]
ANY = ("seed", "retest", "retest_methods", "cut", "split", "asynchronous")
"""In which questions of one setting may differ: their seeds, what comes after the trials, and how
these are packed.
"""
GRID = 60
"""Sizes at which a mean front is taken."""


class Setting(NamedTuple):
    """Runs that share it differ in their seeds alone."""

    task: str
    model: str
    metric: str
    budget: int
    asked: tuple[tuple[str, str], ...]
    """the rest of the question, by name"""

    @classmethod
    def of(cls, run: RunRecord) -> "Setting":
        file = run.file
        said = file.question.to_json().items()
        asked = tuple((name, str(value)) for name, value in said if name not in ANY)
        return cls(file.task, file.model, file.metric, file.budget, asked)


def settings(runs: Runs) -> dict[Setting, list[RunRecord]]:
    """Runs by what they share: of several with one seed, which are one search (a copy, or a folder
    named twice), the first.
    """
    groups: dict[Setting, list[RunRecord]] = {}
    for run in runs.values():
        group = groups.setdefault(Setting.of(run), [])
        if run.file.question.seed not in [one.file.question.seed for one in group]:
            group.append(run)
    return groups


def said_of(runs: Runs, groups: Mapping[Setting, Sequence[RunRecord]]) -> list[str]:
    """A line a setting, with its folders and what n counts; one a run that `settings` left out; and
    one a run that is not at its end.
    """
    found = [
        f"{title}: {', '.join(str(run.folder) for run in groups[one])}; {counted(groups[one])}"
        for one, title in titles(groups).items()
    ]
    there = {id(run) for group in groups.values() for run in group}
    left_out = [
        f"{run.folder}: not counted, a run of its setting and seed stands before it"
        for run in runs.values()
        if id(run) not in there
    ]
    return found + left_out + still_running(runs.values())


def titles(groups: Iterable[Setting]) -> dict[Setting, str]:
    """`sst2 on minilm`; of those alike in that, and in budget and score, what tells them apart
    too.
    """
    every, found = list(groups), dict[Setting, str]()
    for one in every:
        alike = [dict(other.asked) for other in every if other[:4] == one[:4]]
        apart = [
            f"{name} {cut(value)}"
            for name, value in one.asked
            if len({other.get(name) for other in alike}) > 1
        ]
        found[one] = ", ".join([f"{one.task} on {one.model}", *apart])
    return found


def equal_sizes(runs: Runs) -> Markup | None:
    """A table a setting: mean and spread of each method at each size."""
    groups = settings(runs)
    parts = [
        join(
            tag("h3", outside(title), f", {_runs(len(groups[one]))}"),
            methods_table(cells(groups[one]), one.budget),
            tag("p", counted(groups[one]), class_="soft"),
        )
        for one, title in titles(groups).items()
        if any(run.complete for run in groups[one])
    ]
    return join(tag("h2", "Methods at equal sizes"), *parts, ABOUT) if parts else None


ABOUT = tag(
    "p",
    "Of each method and run, the trial with the highest select score of at most so many "
    "parameters; its scores on report from fresh seeds: mean ± standard deviation (n), or, where "
    "it was not retested, (select), which says little. Of runs with one seed the first is counted. "
    "* is told apart from LoRA at that size, - is below it (Welch's t-test, "
    f"p < {LEVEL:g}, each by itself). "
    "--retest-methods retests them all; tenslora-search table RUN ... --form latex writes this "
    "table.",
    class_="soft",
)


def methods_table(found: Sequence[Cell], budget: int) -> Markup:
    """A row a method, a column a size of the budget."""
    by_place = {(one.method, one.most): one for one in found}
    methods = dict.fromkeys(one.method for one in found)
    rows = [
        (outside(method), *(_cell(by_place.get((method, most))) for most in sizes(budget)))
        for method in methods
    ]
    names = ("method", *(f"at most {most:,}" for most in sizes(budget)))
    return table(names, rows, class_="sortable")


def _cell(one: Cell | None) -> object:
    if one is None:
        return "-"
    spread = "" if math.isnan(one.std) else f" ± {one.std:.4f}"
    count = "select" if one.is_select else len(one.scores)
    about = f"{one.n_params:,} parameters" + ("" if math.isnan(one.p) else f", p = {one.p:.3g}")
    mark = tag("b", f" {one.mark}") if one.mark else None
    return tag("span", f"{one.mean:.4f}{spread} ({count})", mark, title=about)


def standings(runs: Runs) -> Markup | None:
    """Average rank of each method over settings and sizes, and how often it beats LoRA."""
    places = [
        {cell.method: cell for cell in found if cell.most == most and not cell.is_select}
        for one, group in settings(runs).items()
        for found in [cells(group)]
        for most in sizes(one.budget)
    ]
    places = [place for place in places if len(place) > 1]
    methods = dict.fromkeys(method for place in places for method in place)
    if not methods:
        return None
    rows = sorted(((_standing(name, places)) for name in methods), key=lambda row: row[1])
    cells_ = [
        (outside(name), f"{rank:.2f}", count, *(_counts(name, places)))
        for name, rank, count in rows
    ]
    names = ("method", "average rank", "of", "win", "tie", "loss")
    about = (
        f"Over {len(places)} settings and sizes: 1 is the best mean at a size; ranks are among the "
        "methods that have a retested trial there. Wins, ties and losses against LoRA where both "
        "have n of two or more."
    )
    return join(
        tag("h2", "Average ranks"), table(names, cells_, class_="sortable"),
        tag("p", about, class_="soft"),
    )  # fmt: skip


def _standing(method: str, places: Sequence[Mapping[str, Cell]]) -> tuple[str, float, int]:
    """Its average rank, ties shared, and of how many places."""
    ranks: list[float] = []
    for place in places:
        if method in place:
            own, means = place[method].mean, [one.mean for one in place.values()]
            above = sum(mean > own for mean in means)
            ranks.append(above + (1 + means.count(own)) / 2)
    return method, statistics.fmean(ranks), len(ranks)


def _counts(method: str, places: Sequence[Mapping[str, Cell]]) -> list[object]:
    verdicts = [place[method].verdict for place in places if method in place]
    if method == REFERENCE or not any(verdicts):
        return ["-", "-", "-"]
    return [verdicts.count(name) for name in ("win", "tie", "loss")]


def band(runs: Sequence[RunRecord]) -> list[tuple[float, float, float]]:
    """(parameters, mean, standard deviation) of the fronts of several seeds, by what their members
    are worth: at each size the best of at most that many parameters, from where all have one.
    """
    fronts = [sorted((one.n_params, one.worth) for one in front(run.rows)) for run in runs]
    if len(fronts) < 2 or not all(fronts):
        return []
    low = max(points[0][0] for points in fronts)
    high = max(run.file.budget for run in runs)
    ratio = (high / low) ** (1 / (GRID - 1))
    found: list[tuple[float, float, float]] = []
    for size in [low * ratio**k for k in range(GRID)]:
        tops = [max(score for n, score in points if n <= size * 1.000001) for points in fronts]
        found.append((size, statistics.fmean(tops), statistics.stdev(tops)))
    return found


def drawn_band(chart: Chart, runs: Sequence[RunRecord], colour: str) -> list[Markup]:
    """The mean front of a setting's seeds with one standard deviation to either side."""
    points = band(runs)
    if not points:
        return []
    upper = [(size, mean + std) for size, mean, std in points]
    lower = [(size, mean - std) for size, mean, std in reversed(points)]
    middle = [(size, mean) for size, mean, _ in points]
    area = tag(
        "path", d=f"{chart.path([*upper, *lower])}Z", style=f"fill:{colour}", fill_opacity="0.15",
        stroke="none",
    )  # fmt: skip
    return [area, chart.line(middle, style=f"stroke:{colour}", class_="curve mean")]


def _runs(count: int) -> str:
    return "one run" if count == 1 else f"{count} runs"
