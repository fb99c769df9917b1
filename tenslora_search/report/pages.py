"""PAGES: the sections of report.html; each turns a run into HTML. Every text from outside is escaped."""

import html
import json
import math
from collections.abc import Callable, Iterable, Sequence

import pandas as pd

from tenslora_search.report.pareto import PICKS, front
from tenslora_search.report.reading import RunRecord
from tenslora_search.spec.table import Table


def answer(record: RunRecord) -> str:
    """What came out, in sentences: the pick of each kind, and LoRA beside the best."""
    rows, trials = front(record.trials), record.trials
    asked = f"At most {record.file['budget']:,} adapter parameters, scored by {record.file['metric']}; "
    asked += f"the task head has {record.file['head_params']:,} more."
    if rows.empty:
        return f"<p>{_text(asked)}</p><p>No trial is complete, so there is no front yet.</p>"
    lines = [f"<li><b>{name}</b>: {_described(trials, pick(rows))}</li>" for name, pick in PICKS.items()]
    return f"<p>{_text(asked)}</p><ul>{''.join(lines)}</ul><p>{_text(_beside_lora(trials, rows))}</p>"


def chart(record: RunRecord) -> str:
    """Score against parameters, as SVG with a title on each point."""
    shown = record.trials[record.trials["score"].notna()]
    if shown.empty:
        return ""
    on_front = set(front(record.trials)["number"])
    low, high = math.log10(shown["n_params"].min()) - 0.1, math.log10(max(record.file["budget"], shown["n_params"].max())) + 0.1
    bottom, top = shown["score"].min(), shown["score"].max()
    margin = max(1e-6, (top - bottom) * 0.08)
    bottom, top = bottom - margin, top + margin

    def x(n_params: float) -> float:
        return 60 + 640 * (math.log10(n_params) - low) / (high - low)

    def y(score: float) -> float:
        return 20 + 320 * (top - score) / (top - bottom)

    parts = [_grid(low, high, bottom, top, x, y)]
    budget = x(record.file["budget"])
    parts.append(f'<line x1="{budget:.1f}" x2="{budget:.1f}" y1="20" y2="340" stroke="var(--soft)" stroke-dasharray="2 3"/>')
    for row in shown.sort_values("number", key=lambda numbers: numbers.isin(on_front)).itertuples():
        kind = "var(--lora)" if row.method == "LoRA" else "var(--ours)" if row.number in on_front else "var(--soft)"
        faint = 0.9 if row.number in on_front or row.method == "LoRA" else 0.35
        radius = 6 if row.number in on_front else 4
        about = f"{row.number}: {row.method} ranks {row.ranks}, {row.n_params:,} parameters, {row.score:.4f} ({row.state})"
        parts.append(
            f'<circle cx="{x(row.n_params):.1f}" cy="{y(row.score):.1f}" r="{radius}" fill="{kind}" '  # type: ignore[arg-type]
            f'fill-opacity="{faint}"><title>{_text(about)}</title></circle>'
        )
    key = "front in blue, LoRA in orange, other trials in grey; dotted: the budget"
    return (
        f'<h2>Score against parameters</h2><svg viewBox="0 0 720 380" role="img" aria-label="front">{"".join(parts)}</svg>'
        f'<p class="soft">select score; {key}. Hover for the configuration.</p>'
    )


def members(record: RunRecord) -> str:
    """The front as a table, with its scores on fresh seeds."""
    return f"<h2>Front</h2>{_table(front(record.trials))}"


def by_choice(record: RunRecord) -> str:
    """The best and the middle score of each construction and decomposition, at each trial's last rung."""
    parts = []
    for name in ("construction", "decomposition"):
        groups = record.trials[record.trials["score"].notna()].groupby(name)["score"].agg(["count", "median", "max"])
        rows = [
            (index, f"{int(row['count'])}", f"{row['median']:.4f}", f"{row['max']:.4f}")
            for index, row in groups.sort_values("max", ascending=False).iterrows()
        ]
        parts.append(_html_table((name, "trials", "median", "best"), rows, n_text=1))
    return f"<h2>By choice</h2>{''.join(parts)}"


def everything(record: RunRecord) -> str:
    """All trials."""
    return f'<h2>All trials</h2><div class="scroll">{_table(record.trials)}</div>'


def trust(record: RunRecord) -> str:
    """What the numbers rest on: the budget's proof, how trials ended, the gap between select and report."""
    trials, proof = record.trials, record.file.get("proof")
    over = int((trials["n_params"] > record.file["budget"]).sum())
    lines = [f"{over} of {proof['checked'] if proof else len(trials):,} configurations over the budget."]
    lines.append(", ".join(f"{count} {state}" for state, count in trials["state"].value_counts().items()) + ".")
    for reason, count in trials.loc[trials["state"] == "failed", "reason"].value_counts().items():
        lines.append(f"{count} failed: {reason}")
    again = trials[trials["report_score"].notna()]
    if len(again):
        gap = (again["score"] - again["report_score"]).mean()
        lines.append(f"Select scores of the retested trials are {gap:+.4f} above their report scores on average.")
    return f"<h2>Trust</h2><ul>{''.join(f'<li>{_text(line)}</li>' for line in lines)}</ul>"


def provenance(record: RunRecord) -> str:
    """Where this comes from."""
    file = record.file
    seconds = float(record.segments["seconds"].sum()) + float(record.retests["seconds"].sum())
    rows = [
        ("command", file.get("command") or "the Python API"),
        ("question", json.dumps(file["question"])),
        ("rows", json.dumps(file.get("rows", {}))),
        ("rungs", ", ".join(map(str, file["rungs"])) + " steps"),
        ("worker-seconds", f"{seconds:,.0f}"),
        ("data", file["data_digest"]),
        ("versions", ", ".join(f"{name} {version}" for name, version in file["versions"].items())),
    ]
    body = "".join(
        f'<tr><td class="text">{name}</td><td class="text"><code>{_text(value)}</code></td></tr>' for name, value in rows
    )
    return f"<h2>Provenance</h2><table>{body}</table>"


def _beside_lora(trials: pd.DataFrame, rows: pd.DataFrame) -> str:
    lora = trials[(trials["method"] == "LoRA") & (trials["state"] == "complete")]
    if lora.empty:
        return "No LoRA trial is complete, so there is nothing to compare with."
    top = lora.loc[lora["score"].idxmax()]
    matching = rows[(rows["score"] >= top["score"]) & (rows["method"] != "LoRA")]
    about = f"LoRA's best is r={top['ranks']} with {top['n_params']:,} parameters and {top['score']:.4f}"
    if matching.empty:
        return f"{about}; nothing else matches it."
    small = matching.loc[matching["n_params"].idxmin()]
    share = small["n_params"] / top["n_params"]
    return (
        f"{about}; {small['method']} ({small['ranks']}) reaches {small['score']:.4f} with {small['n_params']:,}, "
        f"{share:.2g} times as many."
    )


def _described(trials: pd.DataFrame, number: int) -> str:
    row = trials[trials["number"] == number].iloc[0]
    report = "" if math.isnan(row["report_score"]) else f", {row['report_score']:.4f} on report"
    return _text(
        f"trial {number}, {row['method']} ({row['ranks']}), {row['n_params']:,} parameters, {row['score']:.4f}{report}"
    )


def _table(trials: pd.DataFrame) -> str:
    names = ("trial", "method", "ranks", "state", "parameters", "learning rate", "select", "report", "steps")
    rows = [
        (
            str(row.number), row.method, row.ranks, row.state, f"{row.n_params:,}", f"{row.learning_rate:g}", _score(row.score),
            _score(row.report_score) + (f" ± {row.report_std:.4f}" if not math.isnan(row.report_std) else ""),  # type: ignore[arg-type]
            str(row.step),
        )
        for row in trials.itertuples()
    ]  # fmt: skip
    return _html_table(names, rows, n_text=4)


def _score(value: object) -> str:
    return "-" if value is None or math.isnan(value) else f"{value:.4f}"  # type: ignore[arg-type]


def _html_table(names: Sequence[str], rows: Iterable[Sequence[object]], *, n_text: int) -> str:
    def cells(row: Sequence[object], tag: str) -> str:
        kinds = (' class="text"' if place < n_text else "" for place in range(len(row)))
        return "".join(f"<{tag}{kind}>{_text(cell)}</{tag}>" for cell, kind in zip(row, kinds, strict=True))

    body = "".join(f"<tr>{cells(row, 'td')}</tr>" for row in rows)
    return f"<table><thead><tr>{cells(names, 'th')}</tr></thead><tbody>{body}</tbody></table>"


def _grid(low: float, high: float, bottom: float, top: float, x: Callable, y: Callable) -> str:
    parts = []
    for exponent in range(math.ceil(low), math.floor(high) + 1):
        at = x(10**exponent)
        parts.append(f'<line class="grid" x1="{at:.1f}" x2="{at:.1f}" y1="20" y2="340"/>')
        parts.append(f'<text x="{at:.1f}" y="358" text-anchor="middle">{10**exponent:,}</text>')
    for k in range(5):
        score = bottom + (top - bottom) * k / 4
        parts.append(f'<line class="grid" x1="60" x2="700" y1="{y(score):.1f}" y2="{y(score):.1f}"/>')
        parts.append(f'<text x="54" y="{y(score) + 4:.1f}" text-anchor="end">{score:.3f}</text>')
    return "".join(parts) + '<text x="380" y="376" text-anchor="middle">trainable parameters</text>'


def _text(value: object) -> str:
    return html.escape(str(value))


PAGES: Table[Callable[[RunRecord], str]] = Table(
    "page", {entry.__name__: entry for entry in (answer, chart, members, by_choice, everything, trust, provenance)}
)
