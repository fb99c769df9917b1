"""Pages to choose by: the picks, the chart of the front, the front, two configurations side by
side, all trials.
"""

from tenslora_search.report.findings import (
    against_best,
    beside_lora,
    picks_sentence,
    zero_sentence,
)
from tenslora_search.report.markup import Markup, join, outside, table, tag
from tenslora_search.report.pareto import front, picks_of
from tenslora_search.report.reading import RunRecord
from tenslora_search.report.rows import Row, is_unknown, measures_of

TITLES = {"best": "Best", "knee": "Knee", "smallest": "Smallest within one standard error"}
ABOUT = {
    "best": "the highest estimate, or select score where there is none",
    "knee": "where more parameters begin to buy less",
    "smallest": "not worse than the best by more than one standard error",
}


def answer(record: RunRecord) -> Markup:
    """What came out: the pick of each kind, the best under a number of parameters, and LoRA beside
    the best.
    """
    rows = front(record.rows)
    if not rows:
        n_trials = len(record.rows)
        why = f"None of the {n_trials:,} trials is complete" if n_trials else "No trial was begun"
        return tag(
            "p",
            f"{why}, so there is no front yet. The same command goes on from here.",
            class_="finding",
        )
    members = {one.number: one for one in rows}
    cards = [
        _card(TITLES.get(name, name), ABOUT.get(name, ""), members[number])
        for name, number in picks_of(rows, record.typical_noise("select")).items()
    ]
    half = f"{record.file.budget // 2:,}"
    field = tag("input", id="under", type="text", inputmode="numeric", size=9, value=half)
    label = tag("h3", tag("label", "Best under ", field, " parameters"))
    own = tag("div", label, tag("div", id="under-answer", aria_live="polite"), class_="card")
    how = picks_sentence(record)
    return join(
        tag("div", *cards, own, class_="cards"),
        tag("p", how, class_="soft") if how else None,
        tag("p", outside(beside_lora(record)), class_="finding"),
        tag("p", zero, class_="soft") if (zero := zero_sentence(record)) else None,
    )


def chart(record: RunRecord) -> Markup | None:
    """The front over axes that can be switched, and the configuration that is pointed at; drawn by
    the page's script.
    """
    if all(is_unknown(one.score) for one in record.rows):
        return None
    controls = tag(
        "div",
        tag("label", "Across ", tag("select", id="across")),
        tag("label", "Up ", tag("select", id="up")),
        class_="controls",
    )
    hint = (
        "Point at a mark or move to it with Tab for its configuration; press it to keep it, "
        "Shift with it to set it beside."
    )
    drawing = tag(
        "figure",
        tag("div", id="front-chart"),
        tag("div", id="legend", class_="legend"),
        tag("figcaption", hint),
    )
    without = tag(
        "noscript", tag("p", "This chart is drawn by a script; front.svg shows the same.")
    )
    detail = tag("aside", id="detail", aria_live="polite", aria_label="the chosen configuration")
    return join(
        tag("h2", "What a parameter buys"),
        controls,
        without,
        tag("div", drawing, detail, class_="wide"),
    )


def members(record: RunRecord) -> Markup | None:
    """The front as a table, with its scores on fresh seeds and whether they differ beyond the
    noise; where there are estimates, how likely each is on it.
    """
    rows, words = front(record.rows), against_best(record)
    if not rows:
        return None
    is_estimated = any(map(_has_estimate, rows))
    measures = measures_of(rows)
    cells = [
        (
            _shows(row.number),
            outside(row.label),
            outside(row.ranks),
            f"{row.n_params:,}",
            f"{row.score:.4f}",
            *((estimate(row), f"{row.on_front:.0%}") if is_estimated else ()),
            report_score(row),
            row.n_retests or "-",
            words.get(row.number, "-"),
            *(measured(row, name) for name in measures),
        )
        for row in rows
    ]
    names = (
        *MEMBERS[:5],
        *(ESTIMATED if is_estimated else ()),
        *MEMBERS[5:],
        *map(heading, measures),
    )
    about = tag("p", ABOUT_ESTIMATES, class_="soft") if is_estimated else None
    shown = table(names, cells, n_text=3, class_="sortable")
    return join(tag("h2", "The front"), shown, about)


MEMBERS = (
    "trial", "method", "ranks", "parameters", "select", "report (fresh seeds)", "seeds",
    "beside the best",
)  # fmt: skip


ESTIMATED = ("estimate", "likely on the front")
ABOUT_ESTIMATES = (
    "The estimate is the select score at the end, on average over seeds, with its standard error, "
    "by a model of all scores of all trials at all rungs (a Gaussian process over configuration, "
    "size and step); the front and the picks go by it. How likely a trial is on the front is its "
    "share of the fronts drawn from that model; the chart's band is 95 % of them for each member."
)


def _has_estimate(row: Row) -> bool:
    return not is_unknown(row.estimate)


def estimate(row: Row) -> str:
    """0.8706 ± 0.0036: the estimate and its standard error."""
    return f"{row.estimate:.4f} ± {row.estimate_error:.4f}" if _has_estimate(row) else "-"


def side_by_side(record: RunRecord) -> Markup | None:
    """Two configurations, line by line, with what differs marked."""
    if len(record.rows) < 2:
        return None
    picks = [
        tag("label", f"{name} ", tag("select", id=f"side-{name.lower()}")) for name in ("A", "B")
    ]
    alike = tag("label", tag("input", type="checkbox", id="side-alike"), " what is alike too")
    return join(
        tag("h2", "Side by side"),
        tag("div", *picks, alike, class_="controls"),
        tag("div", id="sides", class_="scroll"),
    )


def everything(record: RunRecord) -> Markup | None:
    """All trials, to sort and to filter."""
    if not record.rows:
        return None
    words = tag("input", id="words", type="search", placeholder="such as: tucker depth", size=24)
    states = [
        tag("option", "all states", value=""),
        *(tag("option", one) for one in sorted({one.state for one in record.rows})),
    ]
    most = tag("input", id="most", type="text", inputmode="numeric", size=9, placeholder="any")
    controls = tag(
        "div", tag("label", "Words ", words), tag("label", "State ", tag("select", *states,
        id="state")), tag("label", "At most ", most, " parameters"), tag("span", id="n-shown",
        class_="soft", aria_live="polite"), class_="controls",
    )  # fmt: skip
    note = tag("p", id="n-printed", class_="soft print")
    place = tag("div", id="trials", class_="scroll tall")
    return join(tag("h2", "All trials"), controls, place, note)


def heading(name: str) -> str:
    """What a table calls a measure."""
    return name.replace("_", " ")


def measured(row: Row, name: str) -> str:
    """A measure with four digits; a dash where it is not known."""
    return f"{row.measures[name]:.4f}" if name in row.measures else "-"


def report_score(row: Row) -> str:
    """0.8706 ± 0.0036: mean and standard deviation over fresh seeds; a dash where there were
    none."""
    if not row.n_retests:
        return "-"
    spread = f" ± {row.report_std:.4f}" if row.n_retests > 1 else ""
    return f"{row.report_score:.4f}{spread}"


def _card(title: str, about: str, row: Row) -> Markup:
    """The score is the one that the pick goes by, select; the report score stands below it."""
    copy = tag("button", "Copy export command", type="button", data_export=row.number)
    again = "not retested"
    if row.n_retests:
        again = f"report {report_score(row)}, {row.n_retests} fresh seed" + "s" * (
            row.n_retests > 1
        )
    return tag(
        "div",
        tag("h3", title),
        tag("p", about, class_="soft"),
        tag("p", f"{row.score:.4f}", tag("small", " select"), class_="score"),
        tag("p", f"estimate {estimate(row)}", class_="soft") if _has_estimate(row) else None,
        tag("p", again, class_="soft"),
        tag("p", tag("b", f"{row.n_params:,}"), " parameters"),
        tag("p", outside(f"{row.label}, ranks {row.ranks}")),
        tag("p", _shows(row.number, f"Trial {row.number}"), " ", copy),
        class_="card",
    )


def _shows(number: int, text: str | None = None) -> Markup:
    return tag("button", text or number, type="button", class_="link", data_show=number)
