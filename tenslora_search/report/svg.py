"""Chart: a chart's area as static SVG; scales, axes and lines. The front's chart, whose axes
change, is drawn by the page.
"""

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from tenslora_search.report import looks
from tenslora_search.report.looks import outline
from tenslora_search.report.markup import Markup, join, tag

Point = tuple[float, float]
SIZE = 5
SHAPES: dict[str, str] = {
    "circle": "M-4 0a4 4 0 1 0 8 0a4 4 0 1 0 -8 0",
    "diamond": "M0 -5L5 0L0 5L-5 0Z",
    **{name: outline(name, SIZE) for name in looks.SHAPES},
}
"""Paths around the origin."""


@dataclass(frozen=True)
class Chart:
    """A chart of `width` x `height` whose axes span `x` and `y`; the margins hold the numbers."""

    x: tuple[float, float]
    y: tuple[float, float]
    x_label: str
    y_label: str
    log_x: bool = False
    width: int = 560
    height: int = 300

    def at(self, point: Point) -> Point:
        scale = math.log10 if self.log_x else float
        low, high = scale(self.x[0]), scale(self.x[1])
        across = (scale(point[0]) - low) / ((high - low) or 1.0)
        up = (point[1] - self.y[0]) / ((self.y[1] - self.y[0]) or 1.0)
        return LEFT + across * (self.width - LEFT - RIGHT), self.height - BOTTOM - up * (
            self.height - TOP - BOTTOM
        )

    def line(self, points: Sequence[Point], **attributes: object) -> Markup:
        return tag("path", d=self.path(points), fill="none", **attributes)

    def path(self, points: Sequence[Point]) -> str:
        return "M" + "L".join(f"{x:.0f} {y:.0f}" for x, y in map(self.at, points))

    def steps(self, points: Sequence[Point], **attributes: object) -> Markup:
        """A line that stays at a height until the next point."""
        corners = [
            corner
            for place, (x, y) in enumerate(points)
            for corner in ([(x, points[place - 1][1])] if place else []) + [(x, y)]
        ]
        return self.line(corners, **attributes)

    def mark(
        self, point: Point, shape: str, title: str | None = None, **attributes: object
    ) -> Markup:
        x, y = self.at(point)
        about = tag("title", title) if title else None
        return tag(
            "path", about, d=SHAPES[shape], transform=f"translate({x:.1f} {y:.1f})", **attributes
        )

    def drawn(self, *parts: object, about: str) -> Markup:
        """The whole chart; `about` is read aloud in place of it."""
        return tag(
            "svg",
            self._axes(),
            *parts,
            viewBox=f"0 0 {self.width} {self.height}",
            role="img",
            aria_label=about,
            class_="chart",
        )

    def _axes(self) -> Markup:
        parts, base = [], self.height - BOTTOM
        for value in (log_ticks if self.log_x else ticks)(*self.x):
            x, _ = self.at((value, self.y[0]))
            parts.append(tag("line", class_="grid", x1=x, x2=x, y1=TOP, y2=base))
            parts.append(tag("text", short(value), x=x, y=base + 16, text_anchor="middle"))
        for value in ticks(*self.y):
            _, y = self.at((self.x[0], value))
            parts.append(tag("line", class_="grid", x1=LEFT, x2=self.width - RIGHT, y1=y, y2=y))
            parts.append(tag("text", short(value), x=LEFT - 6, y=y + 4, text_anchor="end"))
        middle = (LEFT + self.width - RIGHT) / 2
        parts.append(
            tag(
                "text",
                self.x_label,
                class_="label",
                x=middle,
                y=self.height - 4,
                text_anchor="middle",
            )
        )
        parts.append(tag("text", self.y_label, class_="label", x=4, y=11))
        return join(*parts)


LEFT, RIGHT, TOP, BOTTOM = 56, 16, 20, 40


def bounds(values: Iterable[float], share: float = 0.06) -> tuple[float, float]:
    """From the lowest to the highest with a margin; a lone value gets some room."""
    known = list(values)
    low, high = (min(known), max(known)) if known else (0.0, 1.0)
    margin = (high - low) * share or max(abs(high) * 0.05, 1e-3)
    return low - margin, high + margin


def ticks(low: float, high: float, most: int = 6) -> list[float]:
    """Round numbers between: steps of 1, 2 or 5 times a power of ten."""
    rough = (high - low) / most
    power = 10.0 ** math.floor(math.log10(rough))
    step = next(power * factor for factor in (1, 2, 5, 10) if power * factor >= rough)
    return [step * k for k in range(math.ceil(low / step), math.floor(high / step) + 1)]


def log_ticks(low: float, high: float) -> list[float]:
    """1, 2, 5 times the powers of ten; the powers alone where that were too many, any round numbers
    where too few.
    """
    powers = range(math.floor(math.log10(low)), math.ceil(math.log10(high)) + 1)
    fine = [
        factor * 10.0**power
        for power in powers
        for factor in (1, 2, 5)
        if low <= factor * 10.0**power <= high
    ]
    coarse = [10.0**power for power in powers if low <= 10.0**power <= high]
    if len(fine) < 3:
        return [value for value in ticks(low, high) if value > 0]
    return fine if len(fine) <= 8 else coarse


def short(value: float) -> str:
    """1,500,000 as 1.5M, 0.25 as it is."""
    for size, sign in ((1e9, "G"), (1e6, "M"), (1e3, "k")):
        if abs(value) >= size:
            return f"{value / size:.4g}{sign}"
    return f"{value:.4g}" if abs(value) > 1e-12 else "0"
