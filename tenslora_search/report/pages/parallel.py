"""parallel(): every complete trial as a line over its choices: what those of the front share."""

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from tenslora_search.report.markup import Markup, figure, join, tag
from tenslora_search.report.pareto import front
from tenslora_search.report.reading import RunRecord
from tenslora_search.report.rows import Row
from tenslora_search.report.svg import short

WIDTH, HEIGHT, LEFT, RIGHT, TOP, BOTTOM = 760, 340, 110, 90, 34, 16
MOST_LINES = 400
FEWEST = 3


@dataclass(frozen=True)
class Axis:
    """A choice: where each trial stands on it, from 0 at the foot to 1, and what is written
    there.
    """

    name: str
    places: dict[int, float]
    labels: list[tuple[float, str]]


def parallel(record: RunRecord) -> Markup | None:
    """Lines over construction, decomposition, parameters, learning rate and select score."""
    rows = record.complete[:MOST_LINES]
    if len(rows) < FEWEST:
        return None
    axes = [
        _names("construction", rows),
        _names("decomposition", rows),
        _numbers("parameters", rows, lambda row: row.n_params, is_log=True),
        _numbers("learning rate", rows, lambda row: row.value("learning_rate"), is_log=True),
        _numbers(f"select {record.file.metric}", rows, lambda row: row.score),
    ]
    axes = [axis for axis in axes if axis.places]
    leading = {one.number for one in front(record.rows)}
    lines = [_line(axes, row, "faint line") for row in rows if row.number not in leading]
    lines += [_line(axes, row, "curve ours") for row in rows if row.number in leading]
    about = "Each complete trial as a line over its choices; blue: the front."
    drawn = tag(
        "svg", *lines, *(_drawn(axis, _x(k, axes)) for k, axis in enumerate(axes)),
        viewBox=f"0 0 {WIDTH} {HEIGHT}", role="img", aria_label=about, class_="chart",
    )  # fmt: skip
    return join(tag("h2", "Choices side by side"), figure(drawn, about))


def _names(name: str, rows: Sequence[Row]) -> Axis:
    """A choice by name; those of the highest scores are on top."""
    best: dict[str, float] = {}
    for row in rows:
        value = str(row.value(name))
        best[value] = max(best.get(value, -math.inf), row.score)
    ranked = sorted(best, key=lambda one: best[one])
    place = {one: k / max(1, len(ranked) - 1) for k, one in enumerate(ranked)}
    return Axis(
        name,
        {row.number: place[str(row.value(name))] for row in rows},
        [(height, one if len(one) <= 18 else f"{one[:17]}…") for one, height in place.items()],
    )


def _numbers(
    name: str, rows: Sequence[Row], value: Callable[[Row], object], *, is_log: bool = False
) -> Axis:
    """A number on its own scale; no place for what is not known."""
    known: dict[int, float] = {}
    for row in rows:
        found = value(row)
        if isinstance(found, int | float) and math.isfinite(found) and (found > 0 or not is_log):
            known[row.number] = math.log10(found) if is_log else float(found)
    if not known:
        return Axis(name, {}, [])
    low, high = min(known.values()), max(known.values())
    places = {number: (one - low) / ((high - low) or 1.0) for number, one in known.items()}
    ends = [(0.0, low), (1.0, high)] if high > low else [(0.0, low)]
    return Axis(name, places, [(at, short(10**end if is_log else end)) for at, end in ends])


def _line(axes: Sequence[Axis], row: Row, class_: str) -> Markup:
    points = [
        f"{_x(k, axes):.0f} {_y(axis.places[row.number]):.0f}"
        for k, axis in enumerate(axes)
        if row.number in axis.places
    ]
    about = f"trial {row.number}: {row.method} {row.ranks}, {row.n_params:,} parameters"
    title = tag("title", f"{about}, {row.score:.4f}")
    return tag("path", title, d=f"M{'L'.join(points)}", fill="none", class_=class_)


def _drawn(axis: Axis, x: float) -> Markup:
    parts = [tag("line", class_="grid", x1=x, x2=x, y1=TOP, y2=HEIGHT - BOTTOM)]
    parts.append(tag("text", axis.name, class_="label", x=x, y=14, text_anchor="middle"))
    for at, label in axis.labels:
        parts.append(tag("text", label, x=x - 6, y=_y(at) + 4, text_anchor="end", class_="on"))
    return join(*parts)


def _x(place: int, axes: Sequence[Axis]) -> float:
    return LEFT + place * (WIDTH - LEFT - RIGHT) / max(1, len(axes) - 1)


def _y(share: float) -> float:
    return HEIGHT - BOTTOM - share * (HEIGHT - TOP - BOTTOM)
