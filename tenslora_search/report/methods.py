"""Methods at equal sizes: for each named method the best trial of at most so many parameters, its
scores on fresh seeds, and whether they differ from LoRA's; over one run, or several seeds.
"""

import csv
import io
import math
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, replace
from statistics import fmean, stdev

from tenslora_search.report.reading import RunRecord
from tenslora_search.report.rows import Row
from tenslora_search.report.student import welch
from tenslora_search.spec.table import Table

SHARES = (1 / 16, 1 / 4, 1.0)
"""Of the budget: the sizes at which methods are compared."""
REFERENCE = "LoRA"
LEVEL = 0.05


@dataclass(frozen=True, slots=True)
class Cell:
    """A method at a size: the best trial by select of each run, scored on report from fresh seeds,
    or, where none was retested, on select (`is_select`). Of one run the scores are those of its
    seeds; of several, a mean over its seeds each: seeds of one trial are not runs of a search.
    """

    method: str
    most: int
    """parameters at most"""
    scores: tuple[float, ...]
    n_params: int
    """of the trials, on average"""
    n_seeds: int
    """fresh seeds of all runs; 0 where the scores are on select"""
    is_select: bool
    p: float = math.nan
    """that the mean is LoRA's (Welch's t-test); unknown where either has one score"""
    difference: float = math.nan
    """from LoRA's mean at this size"""

    @property
    def mean(self) -> float:
        return fmean(self.scores)

    @property
    def std(self) -> float:
        """nan for one score."""
        return stdev(self.scores) if len(self.scores) > 1 else math.nan

    @property
    def verdict(self) -> str:
        """win, loss or tie against LoRA; "" where it is not known."""
        if not math.isfinite(self.p):
            return ""
        if self.p > LEVEL:
            return "tie"
        return "win" if self.difference > 0 else "loss"

    @property
    def mark(self) -> str:
        """What stands behind a score that is told apart from LoRA's."""
        return {"win": "*", "loss": "-"}.get(self.verdict, "")


def sizes(budget: int) -> tuple[int, ...]:
    """The sizes of a budget.

    >>> sizes(16_000)
    (1000, 4000, 16000)
    """
    return tuple(round(budget * share) for share in SHARES)


def best_of_methods(rows: Iterable[Row], budget: int) -> dict[tuple[str, int], Row]:
    """For each method and size its complete trial with the highest select score; none where it has
    none that small. One trial may be the best at several sizes.
    """
    found: dict[tuple[str, int], Row] = {}
    for row in rows:
        if not row.is_complete or not math.isfinite(row.score):
            continue
        for most in sizes(budget):
            key = row.method, most
            if row.n_params <= most and (key not in found or row.score > found[key].score):
                found[key] = row
    return found


def cells(runs: Sequence[RunRecord]) -> list[Cell]:
    """Of runs that differ in their seeds alone: LoRA first, then by mean score at the full budget,
    those that were never retested last.
    """
    budget = runs[0].file.budget
    trials: dict[tuple[str, int], list[tuple[RunRecord, Row]]] = {}
    for run in runs:
        for key, row in best_of_methods(run.rows, budget).items():
            trials.setdefault(key, []).append((run, row))
    found = {key: _cell(*key, pairs, len(runs)) for key, pairs in trials.items()}
    beside = [_beside(one, found.get((REFERENCE, one.most))) for one in found.values()]
    tops = {one.method: (one.is_select, -one.mean) for one in beside if one.most == budget}
    return sorted(beside, key=lambda one: (one.method != REFERENCE, tops[one.method], one.most))


def _cell(method: str, most: int, pairs: Sequence[tuple[RunRecord, Row]], n_runs: int) -> Cell:
    retests = [list(run.trials[row.number].retests.values()) for run, row in pairs]
    seeds = [[one.report_score for one in found] for found in retests if found]
    scores = [fmean(own) for own in seeds] if n_runs > 1 else [one for own in seeds for one in own]
    size = round(fmean(row.n_params for _, row in pairs))
    scores = scores or [row.score for _, row in pairs]
    return Cell(method, most, tuple(scores), size, sum(map(len, seeds)), not seeds)


def _beside(cell: Cell, reference: Cell | None) -> Cell:
    if reference is None or cell.method == REFERENCE or cell.is_select != reference.is_select:
        return cell
    p = welch(cell.scores, reference.scores)
    return replace(cell, p=p, difference=cell.mean - reference.mean)


def counted(runs: Sequence[RunRecord]) -> str:
    """What n counts in the table of these runs, in a sentence."""
    if len(runs) == 1:
        return "n: fresh seeds of one search; how searches of other seeds differ is not in it"
    return "n: searches, the mean over each one's fresh seeds; mean, std and p are over these"


HEADS = (
    "method", "at most", "mean parameters", "mean", "std", "n", "seeds", "difference from LoRA",
    "p", "of",
)  # fmt: skip


def as_csv(found: Sequence[Cell]) -> str:
    """One line a cell; what is not known is empty."""
    file = io.StringIO()
    writer = csv.writer(file, lineterminator="\n")
    writer.writerow(HEADS)
    for one in found:
        numbers = [one.mean, one.std, len(one.scores), one.n_seeds, one.difference, one.p]
        known = ["" if math.isnan(value) else value for value in numbers]
        split = "select" if one.is_select else "report"
        writer.writerow([one.method, one.most, one.n_params, *known, split])
    return file.getvalue()


def as_markdown(found: Sequence[Cell]) -> str:
    """A row a method, a column a size."""
    heads, rows = _grid(found, lambda one: f"{_said(one)}{one.mark and ' ' + one.mark}")
    lines = [heads, ["---"] * len(heads), *rows]
    return "\n".join(f"| {' | '.join(_plain(cell) for cell in line)} |" for line in lines) + "\n"


def as_latex(found: Sequence[Cell]) -> str:
    """A tabular of booktabs: a row a method, a column a size, with n; the best of a size is bold,
    what is told apart from LoRA has a star, what is below it a dagger.
    """
    scored = [one for one in found if not one.is_select]
    best = {most: max(one.mean for one in scored if one.most == most) for most in _sizes(scored)}

    def said(one: Cell) -> str:
        mean = f"{100 * one.mean:.1f}"
        if one.is_select:
            return rf"${mean}$ (select)"
        mean = rf"\mathbf{{{mean}}}" if one.mean == best[one.most] else mean
        spread = "" if math.isnan(one.std) else rf"_{{\pm {100 * one.std:.1f}}}"
        mark = {"win": r"^{\ast}", "loss": r"^{\dagger}"}.get(one.verdict, "")
        return f"${mean}{spread}{mark}$ ({len(one.scores)})"

    heads, rows = _grid(found, said)
    cells_ = [[_tex(line[0]), *line[1:]] for line in rows]
    body = "\n".join(f"{' & '.join(line)} \\\\" for line in cells_)
    head = " & ".join(heads)
    kinds = "l" + "r" * (len(heads) - 1)
    return (
        f"\\begin{{tabular}}{{{kinds}}}\n\\toprule\n{head} \\\\\n\\midrule\n{body}\n"
        "\\bottomrule\n\\end{tabular}\n"
    )


FORMS: Table[Callable[[Sequence[Cell]], str]] = Table(
    "form", {"csv": as_csv, "markdown": as_markdown, "latex": as_latex}, renamed=True
)


def _grid(found: Sequence[Cell], said: Callable[[Cell], str]) -> tuple[list[str], list[list[str]]]:
    """Heads, and a row a method."""
    by_place = {(one.method, one.most): said(one) for one in found}
    methods = list(dict.fromkeys(one.method for one in found))
    heads = ["method", *(f"at most {most:,}" for most in _sizes(found))]
    return heads, [
        [method, *(by_place.get((method, most), "-") for most in _sizes(found))]
        for method in methods
    ]


def _sizes(found: Sequence[Cell]) -> list[int]:
    return sorted({one.most for one in found})


def _said(one: Cell) -> str:
    """0.8706 ± 0.0036 (4)."""
    if one.is_select:
        return f"{one.mean:.4f} (select)"
    spread = "" if math.isnan(one.std) else f" ± {one.std:.4f}"
    return f"{one.mean:.4f}{spread} ({len(one.scores)})"


def _plain(text: str) -> str:
    return " ".join(text.split()).replace("|", "\\|")


def _tex(text: str) -> str:
    named = {"\\": r"\textbackslash{}", "~": r"\textasciitilde{}", "^": r"\textasciicircum{}"}
    return "".join(named.get(sign, f"\\{sign}" if sign in "&%$#_{}" else sign) for sign in text)
