"""Pages that say why: scores by choice, the ranks of the front, the importance of each choice, the
rung curves.
"""

import math
import statistics
from collections.abc import Mapping, Sequence
from typing import cast

from tenslora_search.report.markup import Markup, figure, join, outside, table, tag
from tenslora_search.report.pareto import front
from tenslora_search.report.reading import RunRecord, adapter_of
from tenslora_search.report.rows import Row
from tenslora_search.report.svg import SHAPES, Chart, bounds
from tenslora_search.spec.structure import Ranks

MOST_CURVES = 400
"""Curves beyond that, of trials off the front, are left out: they were a grey block already."""


CHOICES = ("construction", "decomposition")


def by_choice(record: RunRecord) -> Markup | None:
    """Scores by construction and by decomposition: of all after the first rung, up to which all
    train alike, and at the end.
    """
    step = record.file.rungs[0]
    early = {one.number: one.score for one in record.rungs if one.step == step}
    known = [one for one in record.trained if one.number in early]
    if not known:
        return None
    shown = [one.score for one in known if one.is_complete]
    span = bounds([*(early[one.number] for one in known), *shown])
    tables = [_choices(name, known, early, span, step) for name in CHOICES]
    about = (
        f"Grey: every trial after its first {step} steps, trained alike. Blue: complete trials. "
        "One scale in all rows, from "
        f"{span[0]:.3f} to {span[1]:.3f} ({record.file.metric} on select). Few trials in a row "
        "say little about it."
    )
    return join(
        tag("h2", "By construction and decomposition"), *tables, tag("p", about, class_="soft")
    )


def rank_profile(record: RunRecord) -> Markup | None:
    """The ranks of the front's members by mode, each beside the largest it could be."""
    rows = front(record.rows)
    profiles = {row.number: profile for row in rows if (profile := ranks_by_mode(record, row))}
    if not profiles:
        return None
    bonds_of_all = {name for profile in profiles.values() for name in profile}
    columns = [name for name in MODES if name in bonds_of_all] + sorted(bonds_of_all - set(MODES))
    cells = []
    for row in rows:
        if row.number in profiles:
            profile = profiles[row.number]
            bars = [_bar(*profile[name]) if name in profile else "" for name in columns]
            about = (f"{row.n_params:,}", f"{row.score:.4f}")
            cells.append((row.number, outside(row.method), *about, *bars))
    about = (
        "Each bar is a rank over the largest it could usefully be beside the others. Bonds that "
        "belong to one mode "
        "stand under its name; r of cp and r_1, r_2, ... of a train join several."
    )
    names = ("trial", "method", "parameters", "select", *columns)
    shown = table(names, cells, n_text=2, class_="sortable")
    return join(tag("h2", "Rank profile of the front"), shown, tag("p", about, class_="soft"))


def importance(record: RunRecord) -> Markup | None:
    """How much each choice decided (Optuna's PED-ANOVA), as the search left it in run.json."""
    shares: dict[str, float] = dict(record.file.importances or {})
    if not shares:
        return None
    rows = [
        (
            outside(name.replace("_", " ")),
            f"{share:.0%}",
            tag("meter", value=f"{share:.4f}", min=0, max=1, aria_hidden="true"),
        )
        for name, share in sorted(shares.items(), key=lambda item: -item[1])
    ]
    step = record.file.importances_step
    n_trials = sum(step in record.trials[one.number].curve for one in record.trained)
    about = (
        "Share of what the choices tell about whether a trial is among the best (PED-ANOVA), by "
        "the scores of "
        f"{n_trials:,} trials after {step} steps. With few trials small shares are chance. "
        "Input, output, head, projection and layer are the weights by which ranks were divided. "
        "It shows no direction."
    )
    return join(
        tag("h2", "Importance of each choice"),
        table(("choice", "share", ""), rows),
        tag("p", about, class_="soft"),
    )


def rung_curves(record: RunRecord) -> Markup | None:
    """Score by step of each trial that climbed: the front, LoRA and the rest."""
    curves = {number: points for number, points in record.curves.items() if len(points) > 1}
    if not curves:
        return None
    leading = {one.number for one in front(record.rows)}
    tested = [one for one in record.complete if one.method == "LoRA"]
    lora = {max(tested, key=lambda one: one.score).number} if tested else set[int]()
    rungs = record.file.rungs
    heights = [score for points in curves.values() for _, score in points]
    chart = Chart(
        (rungs[0] * 0.92, rungs[-1] * 1.08),
        bounds(heights),
        "steps",
        record.file.metric + " on select",
        log_x=True,
        width=760,
    )
    rest = [number for number in curves if number not in leading | lora][:MOST_CURVES]
    faint = "".join(chart.path(curves[number]) for number in rest)
    parts = [tag("path", d=faint, class_="faint", fill="none")]
    for kind, numbers in (("lora", lora), ("ours", leading - lora)):
        for number in sorted(numbers & set(curves)):
            parts += _rung_curve(chart, number, curves[number], kind)
    about = (
        f"{len(curves):,} of {len(record.rows):,} trials climbed beyond their first rung. "
        "Blue circles: the front; orange triangles: LoRA's best; grey: the rest."
    )
    drawn = chart.drawn(*parts, about="score by step of each trial that climbed")
    return join(tag("h2", "Rung curves"), figure(drawn, about))


def _rung_curve(
    chart: Chart, number: int, points: Sequence[tuple[int, float]], kind: str
) -> list[Markup]:
    said = [f"{score:.4f} after {step}" for step, score in points]
    title = f"trial {number}: {', '.join(said)}"
    shape = "triangle" if kind == "lora" else "circle"
    marks = [chart.mark(point, shape, title, class_=f"mark {kind}") for point in points]
    return [chart.line(points, class_=f"curve {kind}"), *marks]


MODES = ("input", "output", "head_dim", "head", "projection", "layer")


def _choices(
    name: str,
    known: Sequence[Row],
    early: Mapping[int, float],
    span: tuple[float, float],
    step: int,
) -> Markup:
    groups: dict[str, list[Row]] = {}
    for row in known:
        groups.setdefault(str(row.value(name)), []).append(row)
    cells = []
    for choice, group in groups.items():
        first = [early[one.number] for one in group]
        complete = [one.score for one in group if one.is_complete]
        best = max(complete, default=-math.inf)
        scores = f"{statistics.median(first):.4f}", f"{best:.4f}" if complete else "-"
        strip = _strip(first, complete, span)
        cells.append((best, (outside(choice), len(group), len(complete), *scores, strip)))
    cells.sort(key=lambda one: one[0], reverse=True)
    names = (name, "trials", "complete", f"median after {step}", "best complete", "")
    return table(names, [row for _, row in cells], class_="sortable")


def _strip(first: Sequence[float], complete: Sequence[float], span: tuple[float, float]) -> Markup:
    def x(score: float) -> int:
        return round(6 + 188 * (score - span[0]) / (span[1] - span[0]))

    early = "".join(f"M{place} 4V14" for place in sorted({x(score) for score in first}))
    done = (
        tag("path", d=SHAPES["circle"], transform=f"translate({place} 9)", class_="mark ours")
        for place in sorted({x(score) for score in complete})
    )
    return tag(
        "svg",
        tag("path", d=early, class_="faint"),
        *done,
        viewBox="0 0 200 18",
        class_="strip",
        aria_hidden="true",
    )


def ranks_by_mode(record: RunRecord, row: Row) -> dict[str, tuple[int, int]]:
    """(rank, the largest it could be) by the mode a bond is named after, or by its own name; {}
    where copies have ranks of their own, and of what this version cannot read.
    """
    adapter = adapter_of(record.trials[row.number])
    if adapter is None or adapter.is_per_copy:
        return {}
    ranks = cast("Ranks", adapter.ranks)
    names = [
        name.removeprefix("r_") if name.removeprefix("r_") in MODES else name
        for name in adapter.structure.bonds
    ]
    return dict(zip(names, zip(ranks, adapter.structure.caps(ranks), strict=True), strict=True))


def _bar(rank: int, cap: int) -> Markup:
    return join(
        tag("span", f"{rank} of {cap:,} "),
        tag("meter", value=rank, min=0, max=cap, aria_hidden="true"),
    )
