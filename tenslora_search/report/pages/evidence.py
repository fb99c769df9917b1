"""Pages on what the numbers rest on: the budget's proof, how trials ended, the noise, the search's
progress, provenance.
"""

from collections import Counter
from collections.abc import Mapping
from typing import Any

from tenslora_search.report.findings import gap_sentence, noise_sentence, rows_sentence
from tenslora_search.report.markup import Markup, bullets, figure, join, outside, table, tag
from tenslora_search.report.pareto import front, hypervolume_curve
from tenslora_search.report.reading import RunRecord
from tenslora_search.report.svg import Chart, bounds


def trust(record: RunRecord) -> Markup:
    """The proof of the budget, how trials ended and why, the gap between select and report, what is
    below the noise.
    """
    lines = [
        proof_sentence(record),
        *ends(record),
        gap_sentence(record),
        noise_sentence(record),
        rows_sentence(record),
    ]
    about = tag(
        "p",
        "Trials were chosen by their score on select; report was touched only by the retest on "
        "fresh seeds.",
    )
    return join(
        tag("h2", "How far to trust this"), about, bullets(outside(line) for line in lines if line)
    )


def progress(record: RunRecord) -> Markup | None:
    """Hypervolume against worker-seconds: whether more time would have bought more."""
    complete = record.trials[record.trials["state"] == "complete"]
    if complete.empty:
        return None
    floor, budget = float(complete["score"].min()), int(record.file["budget"])
    curve = [(0.0, 0.0), *hypervolume_curve(record.trials, floor=floor, budget=budget)]
    end = float(record.segments["seconds"].sum()) or curve[-1][0]
    curve.append((max(end, curve[-1][0]), curve[-1][1]))
    chart = Chart(
        (0.0, curve[-1][0] * 1.03),
        (0.0, bounds(y for _, y in curve)[1]),
        "worker-seconds of search",
        "hypervolume",
        width=760,
    )
    about = (
        f"The area between the front and its lowest score ({floor:.4f}), over log10 of "
        "parameters: score x decades. "
        "Worker-seconds are GPU-seconds where workers have GPUs. A curve that still climbs at its "
        "end asks for more trials."
    )
    return join(
        tag("h2", "What time bought"),
        figure(chart.drawn(chart.steps(curve, class_="curve ours"), about=about), about),
    )


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
    file, question = record.file, record.file["question"]
    rows, hardware = file.get("rows", {}), file.get("hardware") or {}
    machine = [
        str(hardware.get("cpu") or ""),
        f"{hardware['cores']} cores" if hardware.get("cores") else "",
    ]
    found = {
        "command": file.get("command") or "search() of the Python API, with the question below",
        "question": ", ".join(
            f"{name} {value}" for name, value in question.items() if value is not None
        ),
        "seeds": f"search {question.get('seed', 0)}, retests 1 to {question['retest']}"
        if question.get("retest")
        else f"search {question.get('seed', 0)}",
        "data": f"{file['data_digest']} (rows: "
        f"{', '.join(f'{name} {count:,}' for name, count in rows.items())})",
        "rungs": ", ".join(map(str, file["rungs"])) + " steps",
        "task head": f"{file['head_params']:,} parameters, counted beside the adapter",
        "worker-seconds": f"{record.worker_seconds:,.0f} of search and retests" + _wall(file),
        "hardware": ", ".join(
            one for one in [*machine, *map(str, hardware.get("gpus") or ["no GPU"])] if one
        )
        if hardware
        else "",
        "versions": ", ".join(f"{name} {version}" for name, version in file["versions"].items()),
    }
    return {name: value for name, value in found.items() if value}


def _wall(file: Mapping[str, Any]) -> str:
    return f"; {file['wall_seconds']:,.0f} seconds by the clock" if "wall_seconds" in file else ""


def proof_sentence(record: RunRecord) -> str:
    """0 of 64 configurations are over the budget."""
    n_unread, budget = record.counted.count(None), record.file["budget"]
    unread = (
        f"; {n_unread:,} as they were proposed: their specification is of another version"
        if n_unread
        else ""
    )
    return (
        f"{record.over_budget} of {len(record.trials):,} over budget ({budget:,} parameters, each "
        "configuration counted anew "
        f"from its specification{unread})."
    )


def ends(record: RunRecord) -> list[str]:
    """How trials ended: complete, paused by the pruner at which rung, failed with which reason."""
    trials = record.trials
    lines = [
        f"{int((trials['state'] == 'complete').sum()):,} of {len(trials):,} trials are complete."
    ]
    paused = trials[trials["state"] == "paused"]["step"].value_counts().sort_index()
    if len(paused):
        where = ", ".join(f"{count:,} after {step} steps" for step, count in paused.items())
        lines.append(
            f"{int(paused.sum()):,} paused (pruned by "
            f"{record.file['question'].get('pruner', 'the pruner')}): {where}."
        )
    reasons = trials[trials["state"] == "failed"]["reason"].str.replace(
        r" at step \d+$", "", regex=True
    )
    failed = reasons.value_counts()
    if len(failed):
        lines.append(
            f"{int(failed.sum()):,} failed: "
            + "; ".join(f"{count:,} because {reason}" for reason, count in failed.items())
            + "."
        )
    running = int((trials["state"] == "running").sum())
    if running:
        lines.append(f"{running:,} still running or waiting when this was written.")
    return [*lines, *retests(record)]


def retests(record: RunRecord) -> list[str]:
    """What was to be retested and was not: members of the front that were left out, and retests
    that failed.
    """
    lines, rows = [], front(record.trials)
    n_left = int((rows["n_retests"] == 0).sum())
    if n_left and record.file["question"].get("retest"):
        lines.append(
            f"{n_left:,} of the front's {len(rows):,} members were not retested on fresh seeds."
        )
    for reason, n_failed in Counter(record.failed_retests.values()).items():
        lines.append(
            f"{n_failed:,} retest{'s' if n_failed > 1 else ''} failed because {reason}; the same "
            "command tries again."
        )
    return lines
