"""read_run(): a run folder as rows; from run.json and trials.jsonl alone, those of older versions
too.
"""

import math
import statistics
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from tenslora_search.report.cutting import MOST_IN_ROW, cut, cut_all
from tenslora_search.report.rows import FIELDS, Row, Value
from tenslora_search.runs.events import read_events
from tenslora_search.runs.run_file import read_run_file
from tenslora_search.spec.adapter import AdapterSpec
from tenslora_search.spec.table import QuestionError
from tenslora_search.spec.trial import TrialSpec

BYTES_A_PARAMETER = 4
Event = Mapping[str, Any]


@dataclass(frozen=True, slots=True)
class Rung:
    """A trial's score at one rung."""

    number: int
    step: int
    score: float
    loss: float
    seconds: float
    peak_memory_mb: float
    """nan where there was no GPU"""
    state: str
    """the file of its paused state, in the run folder"""
    at: float = math.nan
    """worker-seconds of the search until then"""


@dataclass(frozen=True, slots=True)
class Retest:
    """A trial trained again on a fresh seed."""

    number: int
    seed: int
    report_score: float
    seconds: float
    state: str


@dataclass(frozen=True)
class RunRecord:
    """A run as read: its file, its trials, and all that was scored on the way."""

    folder: Path
    file: dict[str, Any]
    rows: tuple[Row, ...]
    rungs: tuple[Rung, ...] = ()
    retests: tuple[Retest, ...] = ()
    seconds_of_search: float = 0.0
    """of all segments, all workers together"""
    counted: tuple[int | None, ...] = ()
    """the parameters of each trial, counted anew from its specification; None where this version
    cannot read that
    """
    failed_retests: Mapping[tuple[int, int], str] = field(default_factory=dict)
    """why, by trial and seed; those that a later opening of the search made good are left out"""

    @property
    def over_budget(self) -> int:
        """How many configurations are: as counted anew, else as they were proposed."""
        pairs = zip(self.counted, self.rows, strict=True)
        sizes = [row.n_params if found is None else found for found, row in pairs]
        return sum(size > self.file["budget"] for size in sizes)

    @property
    def title(self) -> str:
        """Task and model; a local model by its folder's name."""
        model = Path(self.file["model"])
        return f"{self.file['task']} on {model.name if model.is_absolute() else model}"

    @property
    def complete(self) -> list[Row]:
        return [one for one in self.rows if one.is_complete]

    @property
    def worker_seconds(self) -> float:
        """Of search and retests, all workers together."""
        return self.seconds_of_search + sum(one.seconds for one in self.retests)

    @property
    def curves(self) -> dict[int, list[tuple[int, float]]]:
        """(step, score) at each rung, by trial."""
        found: dict[int, list[tuple[int, float]]] = {}
        for one in self.rungs:
            found.setdefault(one.number, []).append((one.step, one.score))
        return found


def read_run(folder: str | Path) -> RunRecord:
    """`QuestionError` if the folder holds no run, or one that cannot be read."""
    folder = Path(folder)
    file, events = cut_all(read_run_file(folder)), read_events(folder / "trials.jsonl")
    kinds: dict[str, list[Event]] = {}
    for event in events:
        kinds.setdefault(event["event"], []).append(event)
    rungs = tuple(_rungs(events))
    retests = tuple(_retest(event) for event in kinds.get("retest", []))
    proposed = kinds.get("proposed", [])
    adapters = [_adapter(event) for event in proposed]
    measured = _Measured(events, rungs, retests)
    rows = tuple(
        measured.row(event, adapter, file["head_params"])
        for event, adapter in zip(proposed, adapters, strict=True)
    )
    done = {(one.number, one.seed) for one in retests}
    reasons = {
        (one["number"], one["seed"]): one["reason"] for one in kinds.get("retest_failed", [])
    }
    return RunRecord(
        folder,
        file,
        rows,
        rungs,
        retests,
        sum(event["seconds"] for event in kinds.get("segment", [])),
        tuple(adapter.n_params if adapter else None for adapter in adapters),
        {key: cut(reason, MOST_IN_ROW) for key, reason in reasons.items() if key not in done},
    )


STATES = {
    "proposed": "running",
    "rung": "running",
    "promoted": "running",
    "paused": "paused",
    "complete": "complete",
    "failed": "failed",
}
"""What a trial is after an event."""


class _Measured:
    """What was found out about each trial after it was proposed."""

    def __init__(
        self, events: Sequence[Event], rungs: Sequence[Rung], retests: Sequence[Retest]
    ) -> None:
        self.states: dict[int, tuple[str, str]] = {}
        for event in events:
            if event["event"] in STATES:
                said = STATES[event["event"]], event.get("reason") or ""
                self.states[event["number"]] = said
        self.rungs: dict[int, list[Rung]] = {}
        for rung in rungs:
            self.rungs.setdefault(rung.number, []).append(rung)
        self.again: dict[int, list[float]] = {}
        for retest in retests:
            self.again.setdefault(retest.number, []).append(retest.report_score)

    def row(self, event: Event, adapter: AdapterSpec | None, head_params: int) -> Row:
        number = event["number"]
        state, reason = self.states[number]
        rungs, again = self.rungs.get(number, []), self.again.get(number, [])
        last = max(rungs, key=lambda one: one.step, default=None)
        memory = [one.peak_memory_mb for one in rungs if not math.isnan(one.peak_memory_mb)]
        return Row(
            number=number,
            state=state,
            method=cut(event["method"], MOST_IN_ROW),
            construction=cut(event["construction"], MOST_IN_ROW),
            decomposition=cut(event["decomposition"], MOST_IN_ROW),
            ranks=cut(_ranks(event["ranks"]), MOST_IN_ROW),
            n_params=event["n_params"],
            head_params=head_params,
            score=last.score if last else math.nan,
            report_score=statistics.fmean(again) if again else math.nan,
            report_std=statistics.stdev(again) if len(again) > 1 else math.nan,
            step=last.step if last else 0,
            seconds=sum(one.seconds for one in rungs),
            reason=cut(reason, MOST_IN_ROW),
            n_retests=len(again),
            bytes=BYTES_A_PARAMETER * event["n_params"],
            extra_macs=float(extra_macs(adapter)) if adapter else math.nan,
            peak_memory_mb=max(memory, default=math.nan),
            completed_at=last.at if last and state == "complete" else math.nan,
            settings=_settings(event["spec"]),
        )


def extra_macs(spec: AdapterSpec) -> int:
    """Multiply-adds a token of y = x W + (x A) B beyond x W: over all sites, pair rank x (input +
    output).
    """
    total = 0
    for net, copies in zip(spec.networks, spec.copy_ranks, strict=True):
        sites = len(net.group.projections) * net.group.layers // net.copies
        ranks = sum(net.slice_rank(ranks) for ranks in copies)
        total += ranks * sites * (net.group.input + net.group.output)
    return total


def _rungs(events: Sequence[Event]) -> list[Rung]:
    """All of them, each as late as its segment's end; a segment's own event follows its rungs."""
    found: list[Rung] = []
    waiting: list[Event] = []
    seconds = 0.0
    for event in events:
        if event["event"] == "rung":
            waiting.append(event)
        elif event["event"] == "segment":
            seconds += event["seconds"]
            found += [_rung(one, seconds) for one in waiting]
            waiting = []
    return found + [_rung(one, seconds) for one in waiting]


def _rung(event: Event, at: float) -> Rung:
    memory = event.get("peak_memory_mb")
    return Rung(
        event["number"],
        event["step"],
        event["score"],
        event["loss"],
        event["seconds"],
        math.nan if memory is None else float(memory),
        event.get("state") or "",
        at,
    )


def _retest(event: Event) -> Retest:
    said = event["number"], event["seed"], event["report_score"], event["seconds"]
    return Retest(*said, event.get("state") or "")


def _adapter(event: Event) -> AdapterSpec | None:
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


def _settings(spec: Mapping[str, Any]) -> dict[str, Value]:
    """What a specification says besides what a row has anyway; of a specification that this version
    does not know, whatever it says.
    """
    try:
        said = TrialSpec.from_json(spec).columns()
    except QuestionError:
        said = {**spec["adapter"], **spec}
    return {
        cut(name, MOST_IN_ROW): value if _is_number(value) else cut(value, MOST_IN_ROW)
        for name, value in said.items()
        if name not in FIELDS and not isinstance(value, Mapping | list | tuple)
    }


def _is_number(value: object) -> bool:
    return value is None or isinstance(value, bool | int | float)
