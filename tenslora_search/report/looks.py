"""look(): a colour and a shape for any number of methods or runs, the same in every drawing; a
colour never stands alone.
"""

from typing import NamedTuple

from tenslora_search.spec.methods import METHODS

Polygon = tuple[tuple[float, float], ...]
"""Corners around the origin, about 1 away from it, y downwards as in SVG."""

SHAPES: dict[str, Polygon] = {
    "triangle": ((0, -1), (1, 0.8), (-1, 0.8)),
    "square": ((-0.75, -0.75), (0.75, -0.75), (0.75, 0.75), (-0.75, 0.75)),
    "plus": (
        (-0.33, -1), (0.33, -1), (0.33, -0.33), (1, -0.33), (1, 0.33), (0.33, 0.33),
        (0.33, 1), (-0.33, 1), (-0.33, 0.33), (-1, 0.33), (-1, -0.33), (-0.33, -0.33),
    ),
    "down": ((0, 1), (1, -0.8), (-1, -0.8)),
    "star": (
        (0, -1.15), (0.3, -0.38), (1.12, -0.35), (0.48, 0.16), (0.7, 0.97), (0, 0.5),
        (-0.7, 0.97), (-0.48, 0.16), (-1.12, -0.35), (-0.3, -0.38),
    ),
    "pentagon": ((0, -0.95), (0.9, -0.3), (0.56, 0.78), (-0.56, 0.78), (-0.9, -0.3)),
    "left": ((-1, 0), (0.8, -1), (0.8, 1)),
    "hourglass": ((-0.85, -0.95), (0.85, -0.95), (-0.85, 0.95), (0.85, 0.95)),
    "right": ((1, 0), (-0.8, -1), (-0.8, 1)),
    "slab": ((-1.1, -0.42), (1.1, -0.42), (1.1, 0.42), (-1.1, 0.42)),
    "cross": (
        (-1, -0.55), (-0.55, -1), (0, -0.45), (0.55, -1), (1, -0.55), (0.45, 0),
        (1, 0.55), (0.55, 1), (0, 0.45), (-0.55, 1), (-1, 0.55), (-0.45, 0),
    ),
    "bow": ((-0.95, -0.85), (-0.95, 0.85), (0.95, -0.85), (0.95, 0.85)),
    "pillar": ((-0.42, -1.1), (0.42, -1.1), (0.42, 1.1), (-0.42, 1.1)),
}  # fmt: skip
COLOURS = ("#d55e00", "#009e73", "#cc79a7", "#e69f00", "#56b4e9", "#333333")
"""Of figures on white paper, from the palette of Okabe and Ito, which colour-blind readers can tell
apart. The page has its own, light and dark: --mark-0 to --mark-5 in page.css.
"""


class Look(NamedTuple):
    colour: int
    """its place in COLOURS and in the page's --mark-0 to --mark-5"""
    shape: str


def look(place: int) -> Look:
    """The look of the `place`-th of a list. As 13 shapes and 6 colours have no common factor, the
    first 78 are all different.
    """
    return Look(place % len(COLOURS), list(SHAPES)[place % len(SHAPES)])


def outline(shape: str, size: float) -> str:
    """The shape as the `d` of an SVG path."""
    corners = (f"{size * x:.1f} {size * y:.1f}" for x, y in SHAPES[shape])
    return f"M{'L'.join(corners)}Z"


def marker(shape: str) -> list[tuple[float, float]]:
    """The shape as a marker of matplotlib, whose y points upwards."""
    return [(x, -y) for x, y in SHAPES[shape]]


def baselines() -> dict[str, Look]:
    """The named methods from elsewhere, each with its look."""
    names = [name for name in METHODS if not name.startswith("TensLoRA")]
    return {name: look(place) for place, name in enumerate(names)}
