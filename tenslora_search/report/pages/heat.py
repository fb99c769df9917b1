"""rank_heat(): the ranks of the best complete trials by mode, as a map: a strong colour is a rank
near the most that it could be.
"""

from itertools import islice

from tenslora_search.report.markup import Markup, figure, join, tag
from tenslora_search.report.pages.insight import MODES, ranks_by_mode
from tenslora_search.report.reading import RunRecord
from tenslora_search.report.rows import Row

MOST_ROWS, MOST_COLUMNS, FEWEST = 40, 14, 4
WIDTH, LEFT, TOP, HIGH = 760, 240, 40, 15


def rank_heat(record: RunRecord) -> Markup | None:
    """A row a trial, the best first; a column a mode, or a bond that joins several."""
    ranked = sorted(record.complete, key=lambda one: (-one.score, one.n_params))
    read = ((one, ranks_by_mode(record, one)) for one in ranked)
    rows = list(islice(((one, found) for one, found in read if found), MOST_ROWS))
    if len(rows) < FEWEST:
        return None
    bonds = {name for _, profile in rows for name in profile}
    columns = [name for name in MODES if name in bonds] + sorted(bonds - set(MODES))
    columns = columns[:MOST_COLUMNS]
    wide = (WIDTH - LEFT) / len(columns)
    heads = [
        tag("text", name, x=LEFT + (k + 0.5) * wide, y=TOP - 8 - 15 * (k % 2), text_anchor="middle")
        for k, name in enumerate(columns)
    ]
    about = (
        f"The {len(rows)} complete trials of the highest select scores. A rank over the largest it "
        "could usefully be beside the others: the stronger the colour, the nearer; the number is "
        "the rank. Empty: the trial has no such bond."
    )
    lines = [_line(*one, columns, place) for place, one in enumerate(rows)]
    drawn = tag(
        "svg", *heads, *lines,
        viewBox=f"0 0 {WIDTH} {TOP + HIGH * len(rows) + 6}", role="img", aria_label=about,
        class_="chart",
    )  # fmt: skip
    return join(tag("h2", "Ranks by mode"), figure(drawn, about))


def _line(row: Row, profile: dict[str, tuple[int, int]], columns: list[str], place: int) -> Markup:
    """A trial: its number, method and score, and a cell for each of its bonds."""
    wide, y = (WIDTH - LEFT) / len(columns), TOP + HIGH * place
    method = row.method if len(row.method) <= 24 else f"{row.method[:23]}…"
    parts = [
        tag("text", f"{row.number} {method}", x=4, y=y + 11),
        tag("text", f"{row.score:.4f}", x=LEFT - 8, y=y + 11, text_anchor="end"),
    ]
    for k, name in enumerate(columns):
        if name not in profile:
            continue
        rank, cap = profile[name]
        share, x = rank / max(1, cap), LEFT + k * wide
        title = tag("title", f"trial {row.number}: {name} {rank} of {cap:,}")
        parts.append(
            tag(
                "rect", title, class_="heat", x=x + 1, y=y + 1, width=wide - 2, height=HIGH - 2,
                fill_opacity=f"{0.08 + 0.92 * min(1.0, share):.2f}",
            )
        )  # fmt: skip
        kind = "on-dark" if share > 0.55 else "label"
        parts.append(
            tag("text", f"{rank:,}", x=x + wide / 2, y=y + 11, text_anchor="middle", class_=kind)
        )
    return join(*parts)
