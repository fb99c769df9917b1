"""tag(): HTML and SVG elements; every text that is not Markup already is escaped, so nothing from
outside becomes code.
"""

import html
import json
from collections.abc import Iterable, Sequence
from typing import Any


class Markup(str):
    """Text that is HTML already."""

    __slots__ = ()


def tag(name: str, *children: object, **attributes: object) -> Markup:
    """`tag("td", 3, class_="text")` is `<td class="text">3</td>`; None leaves a child or an
    attribute out, `_` writes `-`.
    """
    given = "".join(
        f' {key.rstrip("_").replace("_", "-")}="{html.escape(_short(value))}"'
        for key, value in attributes.items()
        if value is not None
    )
    return Markup(f"<{name}{given}>{join(*children)}</{name}>")


def join(*children: object) -> Markup:
    """The children one after another, escaped where they are plain text."""
    return Markup(
        "".join(
            one if isinstance(one, Markup) else html.escape(_short(one))
            for one in children
            if one is not None
        )
    )


def outside(text: object, **attributes: object) -> Markup:
    """A text from outside: written in a direction of its own, so that a right-to-left name leaves
    its neighbours in place.
    """
    return tag("bdi", text, **attributes)


def bullets(lines: Iterable[object]) -> Markup:
    return tag("ul", *(tag("li", line) for line in lines if line is not None))


def table(
    names: Sequence[str], rows: Iterable[Sequence[object]], *, n_text: int = 1, **attributes: object
) -> Markup:
    """A table whose first `n_text` columns are text, the others numbers; its columns sort when
    their heads are pressed.
    """

    def cells(row: Sequence[object], kind: str, **more: object) -> Markup:
        kinds = ("text" if place < n_text else None for place in range(len(row)))
        return join(
            *(tag(kind, cell, class_=one, **more) for cell, one in zip(row, kinds, strict=True))
        )

    head = tag("thead", tag("tr", cells(names, "th", scope="col")))
    return tag(
        "div",
        tag(
            "table",
            head,
            tag("tbody", *(tag("tr", cells(row, "td")) for row in rows)),
            **attributes,
        ),
        class_="scroll",
    )


def figure(drawing: Markup, caption: object) -> Markup:
    return tag("figure", drawing, tag("figcaption", caption))


def data(value: Any, name: str) -> Markup:
    """JSON for the page's script. `<` is written as an escape, so no text in it can end the
    element.
    """
    text = json.dumps(value, ensure_ascii=False, separators=(",", ":"), allow_nan=False)
    return Markup(
        '<script type="application/json" '
        f'id="{name}">{text.replace("<", chr(92) + "u003c")}</script>'
    )


def _short(value: object) -> str:
    """Coordinates with one decimal are as sharp as a screen."""
    return f"{value:.1f}".removesuffix(".0") if isinstance(value, float) else str(value)
