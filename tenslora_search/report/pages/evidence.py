"""Pages on what the numbers rest on: the budget's proof, how trials ended, the noise, the search's
progress, provenance.
"""

import re
from collections import Counter

from tenslora_search.report.comparing import ABOUT, methods_table
from tenslora_search.report.cutting import MOST_JOINED, cut
from tenslora_search.report.findings import gap_sentence, noise_sentence, rows_sentence
from tenslora_search.report.markup import Markup, bullets, figure, join, outside, table, tag
from tenslora_search.report.methods import cells, counted
from tenslora_search.report.pareto import front, hypervolume_curve
from tenslora_search.report.reading import RunRecord
from tenslora_search.report.svg import Chart, bounds
from tenslora_search.runs.run_file import RunFile


def trust(record: RunRecord) -> Markup:
    """The proof of the budget, how trials ended and why, the gap between select and report, what is
    below the noise.
    """
    about = tag(
        "p",
        "Trials were chosen by their score on select; report was touched only by the retest on "
        "fresh seeds.",
    )
    lines = bullets(outside(line) for line in trust_lines(record))
    return join(tag("h2", "How far to trust this"), about, lines)


def trust_lines(record: RunRecord) -> list[str]:
    """The sentences of `trust`."""
    lines = [
        proof_sentence(record),
        *ends(record),
        gap_sentence(record),
        noise_sentence(record),
        rows_sentence(record),
        absence_sentence(record),
    ]
    return [line for line in lines if line]


def absence_sentence(record: RunRecord) -> str:
    """Which classes the score says nothing of; "" where all parts hold all."""
    said = cut(record.file.absence)
    return f"{said[0].upper()}{said[1:]}." if said else ""


def progress(record: RunRecord) -> Markup | None:
    """Hypervolume against worker-seconds: whether more time would have bought more."""
    sizes = {one.number: one.n_params for one in record.rows}
    scored = [
        (at, one.number, sizes[one.number], one.score)
        for at, one in zip(record.scored_at, record.rungs, strict=True)
    ]
    if not scored:
        return None
    floor, budget = min(score for *_, score in scored), record.file.budget
    curve = hypervolume_curve(scored, floor=floor, budget=budget)
    end = (max(record.seconds_of_search, curve[-1][0]), curve[-1][1])
    chart = Chart(
        (0.0, end[0] * 1.03 or 1.0),
        bounds(height for _, height in curve),
        "worker-seconds of search",
        "hypervolume",
        width=760,
    )
    marks = [chart.mark(point, "circle", _reached(point), class_="mark ours") for point in curve]
    about = (
        "The area between the front of the scores known by then, those of trials on their way "
        f"included, and the lowest score ({floor:.4f}), over log10 of parameters: score x decades. "
        "Each mark is a segment that was scored. Worker-seconds are GPU-seconds where workers have "
        "GPUs. A curve that still climbs at its end asks for more trials."
    )
    line = chart.steps([*curve, end], class_="curve ours")
    drawn = chart.drawn(line, *marks, about=about)
    return join(tag("h2", "What time bought"), figure(drawn, about))


def _reached(point: tuple[float, float]) -> str:
    return f"{point[1]:.4f} after {point[0]:,.0f} worker-seconds"


def equal_sizes(record: RunRecord) -> Markup | None:
    """Each method at a sixteenth, a quarter and all of the budget, beside LoRA there."""
    if not record.complete:
        return None
    found = methods_table(cells([record]), record.file.budget)
    n = tag("p", counted([record]), class_="soft")
    return join(tag("h2", "Methods at equal sizes"), found, n, ABOUT)


def provenance(record: RunRecord) -> Markup:
    """Where this comes from: enough to do it again."""
    rows = [(name, outside(value)) for name, value in origins(record).items()]
    return join(
        tag("h2", "Provenance"),
        table(
            ("", ""), [(name, tag("code", value)) for name, value in rows], n_text=2, class_="plain"
        ),
    )


def origins(record: RunRecord) -> dict[str, str]:
    """Command, question, data, seeds, hardware and versions of a run."""
    file, question = record.file, record.file.question
    said = question.to_json().items()
    asked = [f"{name} {cut(value)}" for name, value in said if value is not None]
    rows = [f"{name} {count:,}" for name, count in (file.rows or {}).items()]
    seeds = f"search {question.seed}"
    if question.retest:
        seeds += f", retests 1 to {question.retest}"
    head = f"{file.head_params:,} parameters, counted beside the adapter"
    found = {
        "command": file.command or "search() of the Python API, with the question below",
        "question": ", ".join(asked),
        "seeds": seeds,
        "data": f"{file.data_digest} (rows: {', '.join(rows)})",
        "rungs": ", ".join(map(str, file.rungs)) + " steps",
        "task head": head if file.head_params else "",
        "worker-seconds": f"{record.worker_seconds:,.0f} of search and retests" + _wall(file),
        "hardware": _hardware(file),
        "versions": ", ".join(f"{name} {version}" for name, version in file.versions.items()),
    }
    return {name: cut(value, MOST_JOINED) for name, value in found.items() if value}


def _hardware(file: RunFile) -> str:
    hardware = file.hardware
    if hardware is None:
        return ""
    cores = f"{hardware.cores} cores" if hardware.cores else ""
    machine = [hardware.cpu, cores, *(hardware.gpus or ("no GPU",))]
    return ", ".join(one for one in machine if one)


def _wall(file: RunFile) -> str:
    return f"; {file.wall_seconds:,.0f} seconds by the clock" if file.wall_seconds else ""


def proof_sentence(record: RunRecord) -> str:
    """0 of 64 configurations are over the budget."""
    n_unread, budget = record.counted.count(None), record.file.budget
    unread = (
        f"; {n_unread:,} as they were proposed: their specification is of another version"
        if n_unread
        else ""
    )
    return (
        f"{record.over_budget} of {len(record.rows):,} over budget ({budget:,} parameters, each "
        "configuration counted anew "
        f"from its specification{unread})."
    )


def ends(record: RunRecord) -> list[str]:
    """How trials ended: complete, paused by the pruner at which rung, failed with which reason."""
    rows = record.trained
    n_complete, n_cut = sum(one.is_complete for one in rows), len(record.rows) - len(rows)
    lines = [f"{n_complete:,} of {len(rows):,} trials are complete."]
    if n_cut:
        lines.append(f"{n_cut:,} more adapters were cut down from them after training.")
    paused = Counter(one.step for one in rows if one.state == "paused")
    if paused:
        where = ", ".join(f"{paused[step]:,} after {step} steps" for step in sorted(paused))
        pruner = record.file.question.pruner
        lines.append(f"{paused.total():,} paused (pruned by {pruner}): {where}.")
    failed = Counter(_cause(one.reason) for one in rows if one.state == "failed")
    if failed:
        why = "; ".join(f"{n:,} because {reason}" for reason, n in failed.most_common(MOST_REASONS))
        more = f"; and {len(failed) - MOST_REASONS:,} other reasons"
        lines.append(
            f"{failed.total():,} failed: {why}{more if len(failed) > MOST_REASONS else ''}."
        )
    n_running = sum(one.state == "running" for one in rows)
    if n_running:
        lines.append(f"{n_running:,} still running or waiting when this was written.")
    return [*lines, *retests(record)]


MOST_REASONS = 5


def _cause(reason: str) -> str:
    """A reason without the step at which it came up."""
    return re.sub(r" at step \d+$", "", reason)


def retests(record: RunRecord) -> list[str]:
    """What was to be retested and was not: members of the front that were left out, and retests
    that failed.
    """
    lines, rows = [], front(record.rows)
    n_left = sum(one.n_retests == 0 for one in rows)
    if n_left and record.file.question.retest:
        lines.append(
            f"{n_left:,} of the front's {len(rows):,} members were not retested on fresh seeds."
        )
    for reason, n_failed in Counter(record.failed_retests.values()).items():
        lines.append(
            f"{n_failed:,} retest{'s' if n_failed > 1 else ''} failed because {reason}; the same "
            "command tries again."
        )
    return lines
