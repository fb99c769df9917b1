"""read_run(): a run folder as data frames; from run.json and trials.jsonl alone, those of older
versions too.
"""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, TypeAlias

import pandas as pd

from tenslora_search.runs.events import read_events
from tenslora_search.runs.run_file import read_run_file
from tenslora_search.spec.adapter import AdapterSpec
from tenslora_search.spec.table import QuestionError

Frame: TypeAlias = Any
"""A pandas.DataFrame; its own annotations cannot tell a frame from a column once it is indexed."""
Trial: TypeAlias = Any
"""A row of `trials` as an object: its attributes are the columns."""

SETTINGS = (
    "scale", "alpha", "head_layout", "learning_rate", "head_learning_rate", "weight_decay", "clip",
    "warmup", "rule", "seed",
)  # fmt: skip
"""What a trial's specification says besides construction, decomposition and ranks."""
COLUMNS = (
    "number", "state", "method", "construction", "decomposition", "ranks", "n_params",
    "head_params", "score", "report_score", "report_std", "step", "seconds", "reason", "n_retests",
    "bytes", "extra_macs", "peak_memory_mb", "completed_at", *SETTINGS,
)  # fmt: skip
"""Of `trials`. `bytes`: the factors in float32; `extra_macs`: multiply-adds a token that the
unmerged adapter adds; `peak_memory_mb`: a trial's share of its pack's, while training;
`completed_at`: worker-seconds of the search until then.
"""
BYTES_A_PARAMETER = 4


@dataclass(frozen=True)
class RunRecord:
    """A run as read: its file, and one row a trial, a rung (number, step, score, loss, seconds), a
    retest, a segment.
    """

    folder: Path
    file: dict[str, Any]
    trials: Frame
    rungs: Frame
    retests: Frame
    segments: Frame
    counted: tuple[int | None, ...] = ()
    """the parameters of each trial, counted anew from its specification; None where this version
    cannot read that
    """
    failed_retests: Mapping[tuple[int, int], str] = field(default_factory=dict)
    """why, by trial and seed; those that a later opening of the search made good are left out"""

    @property
    def over_budget(self) -> int:
        """How many configurations are: as counted anew, else as they were proposed."""
        pairs = zip(self.counted, self.trials["n_params"], strict=True)
        return sum(
            (said if found is None else found) > self.file["budget"] for found, said in pairs
        )

    @property
    def title(self) -> str:
        """Task and model; a local model by its folder's name."""
        model = Path(self.file["model"])
        return f"{self.file['task']} on {model.name if model.is_absolute() else model}"

    @property
    def worker_seconds(self) -> float:
        """Of search and retests, all workers together."""
        return float(self.segments["seconds"].sum()) + float(self.retests["seconds"].sum())

    @property
    def curves(self) -> dict[int, list[tuple[int, float]]]:
        """(step, score) at each rung, by trial."""
        found: dict[int, list[tuple[int, float]]] = {}
        for number, step, score in zip(
            self.rungs["number"], self.rungs["step"], self.rungs["score"], strict=True
        ):
            found.setdefault(int(number), []).append((int(step), float(score)))
        return found


def read_run(folder: str | Path) -> RunRecord:
    """`QuestionError` if the folder holds no run, or one that cannot be read."""
    folder = Path(folder)
    file = read_run_file(folder)
    events = [event.to_json() for event in read_events(folder / "trials.jsonl")]
    kinds: dict[str, list[dict[str, Any]]] = {}
    for event in events:
        kinds.setdefault(event["event"], []).append(event)
    rungs = _frame(
        kinds.get("rung"), ("number", "step", "score", "loss", "seconds", "peak_memory_mb", "state")
    )
    retests = _frame(kinds.get("retest"), ("number", "seed", "report_score", "seconds", "state"))
    done = {(event["number"], event["seed"]) for event in kinds.get("retest", [])}
    failed = {
        (event["number"], event["seed"]): event["reason"]
        for event in kinds.get("retest_failed", [])
    }
    segments = _frame(kinds.get("segment"), ("id", "numbers", "from_step", "to_step", "seconds"))
    states: dict[int, tuple[str, str]] = {}
    for event in events:
        if event["event"] in STATES:
            states[event["number"]] = STATES[event["event"]], event.get("reason") or ""
    proposed = kinds.get("proposed", [])
    adapters = [_adapter(event) for event in proposed]
    rows = [
        _row(event, *states[event["number"]], file, extra_macs(adapter) if adapter else math.nan)
        for event, adapter in zip(proposed, adapters, strict=True)
    ]
    trials = _frame(rows, [name for name in COLUMNS if name not in MEASURED])
    trials = trials.set_index("number", drop=False).rename_axis(None)
    by_trial, again = rungs.groupby("number"), retests.groupby("number")["report_score"]
    last = rungs.sort_values("step").drop_duplicates("number", keep="last").set_index("number")
    measured = {
        "score": last["score"].astype(float),
        "step": last["step"],
        "seconds": by_trial["seconds"].sum(),
        "peak_memory_mb": by_trial["peak_memory_mb"].max().astype(float),
        "report_score": again.mean().astype(float),
        "report_std": again.std().astype(float),
        "n_retests": again.count(),
        "completed_at": pd.Series(_completed_at(events), dtype=float),
    }
    for name, values in measured.items():
        trials[name] = values.reindex(trials.index)
    for name, kind in (("step", int), ("n_retests", int), ("seconds", float)):
        trials[name] = trials[name].astype(float).fillna(0).astype(kind)
    counted = tuple(adapter.n_params if adapter else None for adapter in adapters)
    failed = {key: reason for key, reason in failed.items() if key not in done}
    trials = trials[list(COLUMNS)].reset_index(drop=True)
    return RunRecord(folder, file, trials, rungs, retests, segments, counted, failed)


STATES = {
    "proposed": "running",
    "rung": "running",
    "promoted": "running",
    "paused": "paused",
    "complete": "complete",
    "failed": "failed",
}
"""What a trial is after an event."""
MEASURED = (
    "score",
    "step",
    "seconds",
    "report_score",
    "report_std",
    "n_retests",
    "peak_memory_mb",
    "completed_at",
)
"""The columns that are not known when a trial is proposed."""


def extra_macs(spec: AdapterSpec) -> int:
    """Multiply-adds a token of y = x W + (x A) B beyond x W: over all sites, pair rank x (input +
    output).
    """
    total = 0
    for net, copies in zip(spec.networks, spec.copy_ranks, strict=True):
        sites = len(net.group.projections) * net.group.layers // net.copies
        total += (
            sum(net.slice_rank(ranks) for ranks in copies)
            * sites
            * (net.group.input + net.group.output)
        )
    return total


def _row(
    event: Mapping[str, Any], state: str, reason: str, file: Mapping[str, Any], macs: float
) -> dict[str, Any]:
    spec = event["spec"]
    said = {**spec["adapter"], **spec}
    return {
        **{
            name: event[name]
            for name in ("number", "n_params", "method", "construction", "decomposition")
        },
        **{name: said.get(name) for name in SETTINGS},
        "ranks": _ranks(event["ranks"]),
        "state": state,
        "reason": reason,
        "head_params": file["head_params"],
        "bytes": BYTES_A_PARAMETER * event["n_params"],
        "extra_macs": float(macs),
    }


def _adapter(event: Mapping[str, Any]) -> AdapterSpec | None:
    """None where the specification is one that this version does not know."""
    try:
        return AdapterSpec.from_json(event["spec"]["adapter"])
    except QuestionError:
        return None


def _ranks(ranks: Sequence[Any]) -> str:
    """8,8,3; with ranks a copy 8,8,3 | 4,4,1."""
    if ranks and isinstance(ranks[0], list):
        return " | ".join(_ranks(one) for one in ranks)
    return ",".join(map(str, ranks))


def _completed_at(events: Sequence[Mapping[str, Any]]) -> dict[int, float]:
    """Worker-seconds of all segments up to the one that completed a trial; a segment's own event
    ends its rows.
    """
    found: dict[int, float] = {}
    seconds, waiting = 0.0, []
    for event in events:
        if event["event"] == "complete":
            waiting.append(event["number"])
        elif event["event"] == "segment":
            seconds += event["seconds"]
            found |= dict.fromkeys(waiting, seconds)
            waiting = []
    return found | dict.fromkeys(waiting, seconds)


def _frame(events: list[dict[str, Any]] | None, columns: Sequence[str]) -> Frame:
    return pd.DataFrame(
        [[event.get(name) for name in columns] for event in events or []], columns=list(columns)
    )
