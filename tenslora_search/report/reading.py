"""read_run(): a run folder as rows; from run.json and trials.jsonl alone, those of older versions
too.
"""

import math
import statistics
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, cast

from tenslora_search.report.cutting import MOST_IN_ROW, cut, cut_all
from tenslora_search.report.rows import CUT, FIELDS, Row, Value
from tenslora_search.report.worth import estimates_of
from tenslora_search.runs.events import (
    Event,
    HeadAlone,
    Retest,
    Rung,
    SegmentDone,
)
from tenslora_search.runs.fields import FieldError, value_of
from tenslora_search.runs.folder import is_in_use
from tenslora_search.runs.replay import Record, replayed
from tenslora_search.runs.run_file import RunFile
from tenslora_search.spec.adapter import AdapterSpec
from tenslora_search.spec.metrics import SHOWN, is_loss, noise_of
from tenslora_search.spec.paths import typed
from tenslora_search.spec.served import BYTES_A_PARAMETER, served
from tenslora_search.spec.table import QuestionError

UNKNOWN_ROWS = 1_000
"""Of a split in folders of before they were written down."""


@dataclass(frozen=True)
class RunRecord:
    """A run as read: its file, its trials, and all that was scored on the way."""

    folder: Path
    file: RunFile
    rows: tuple[Row, ...]
    trials: Mapping[int, Record] = field(default_factory=dict[int, Record])
    """what the events tell of each trial"""
    rungs: tuple[Rung, ...] = ()
    """of all trials, as they were scored"""
    scored_at: tuple[float, ...] = ()
    """for each rung the worker-seconds of the search until then"""
    seconds_of_search: float = 0.0
    """of all segments, all workers together"""
    counted: tuple[int | None, ...] = ()
    """the parameters of each trial, counted anew from its specification; None where this version
    cannot read that
    """
    head_alone: Mapping[int, HeadAlone] = field(default_factory=dict[int, HeadAlone])
    """scores of the task head without an adapter: on select at seed 0, on report at the others"""

    @property
    def over_budget(self) -> int:
        """How many configurations are: as counted anew, else as they were proposed."""
        pairs = zip(self.counted, self.rows, strict=True)
        sizes = [row.n_params if found is None else found for found, row in pairs]
        return sum(size > self.file.budget for size in sizes)

    @property
    def title(self) -> str:
        """Task and model; a local model by its folder's name."""
        model = Path(self.file.model)
        return f"{self.file.task} on {model.name if model.is_absolute() else model}"

    @property
    def trained(self) -> list[Row]:
        """The trials of the search; the other rows are what was cut down from one of them."""
        return [one for one in self.rows if one.cut_from is None]

    @property
    def complete(self) -> list[Row]:
        return [one for one in self.rows if one.is_complete]

    @property
    def retests(self) -> list[Retest]:
        return [one for record in self.trials.values() for one in record.retests.values()]

    @property
    def failed_retests(self) -> dict[tuple[int, int], str]:
        """Why, by trial and seed; those that a later opening of the search made good are left
        out."""
        return {
            (number, seed): cut(reason, MOST_IN_ROW)
            for number, record in self.trials.items()
            for seed, reason in record.failed_retests.items()
        }

    @property
    def worker_seconds(self) -> float:
        """Of search and retests, all workers together."""
        beside = [one.seconds for one in (*self.retests, *self.head_alone.values())]
        return self.seconds_of_search + sum(beside)

    def typical_noise(self, split: str) -> float:
        """The noise of one score on a split where nothing has measured it: its metric's."""
        return noise_of(self.file.metric, (self.file.rows or {}).get(split, UNKNOWN_ROWS))

    @property
    def zero(self) -> tuple[float, tuple[float, ...]]:
        """What the task head scores without an adapter: on select, nan where it is not known, and
        on report, by seed.
        """
        on_select = self.head_alone.get(0)
        again = tuple(self.head_alone[seed].score for seed in sorted(self.head_alone) if seed)
        return on_select.score if on_select else math.nan, again

    @property
    def report_rows(self) -> int | None:
        """Rows of the report split, where they were written down."""
        return (self.file.rows or {}).get("report")

    @property
    def least_noise(self) -> float:
        """What the report split cannot tell apart: half a row of it; of a loss, which is no count
        of rows, nothing.
        """
        n_rows = 0 if is_loss(self.file.metric) else self.report_rows
        return 0.5 / n_rows if n_rows else 0.0

    @property
    def curves(self) -> dict[int, list[tuple[int, float]]]:
        """(step, score) at each rung, by trial."""
        return {
            number: [(one.step, one.score) for one in record.rungs]
            for number, record in self.trials.items()
            if record.rungs
        }


def read_run(folder: str | Path) -> RunRecord:
    """`QuestionError` if the folder holds no run, or one that cannot be read."""
    folder = typed(folder)
    file, journal = _cut(RunFile.read(folder)), folder / "trials.jsonl"
    if not journal.is_file():
        raise QuestionError(f"{folder} holds no trials: trials.jsonl is missing.")
    events, told = replayed(journal)
    records = told.records
    adapters = [adapter_of(record) for record in records.values()]
    rows = [
        _row(record, adapter, file)
        for record, adapter in zip(records.values(), adapters, strict=True)
    ]
    return RunRecord(
        folder,
        file,
        tuple(with_estimates(rows, records)),
        records,
        tuple(event for event in events if isinstance(event, Rung)),
        tuple(_scored_at(events)),
        told.seconds,
        tuple(adapter.n_params if adapter else None for adapter in adapters),
        told.head_alone,
    )


def still_running(records: Iterable[RunRecord]) -> list[str]:
    """A line for each run whose search goes on while it is read, from another process."""
    return [
        f"{one.folder}: its search is still running; what it has so far is counted"
        for one in records
        if is_in_use(one.folder)
    ]


def with_estimates(rows: Sequence[Row], records: Mapping[int, Record]) -> list[Row]:
    """The rows, each complete one with its estimate; as they are where there are too few trials."""
    found = estimates_of(records)
    return [replace(one, **_named(found.get(one.number))) for one in rows]


def _named(found: tuple[float, float, float] | None) -> dict[str, Any]:
    names = ("estimate", "estimate_error", "on_front")
    return dict(zip(names, found, strict=True)) if found else {}


STATES = {"paused": "paused", "complete": "complete", "failed": "failed"}
"""What a report calls a trial; any other state is `running`."""


def _row(record: Record, adapter: AdapterSpec | None, file: RunFile) -> Row:
    said = record.proposed
    again = [one.report_score for one in record.retests.values()]
    memory = [one.peak_memory_mb for one in record.rungs if one.peak_memory_mb is not None]
    lora = served(adapter) if adapter else None
    return Row(
        number=record.number,
        state=STATES.get(record.state, "running"),
        method=cut(said.method, MOST_IN_ROW) + (CUT if record.cut_from is not None else ""),
        construction=cut(said.construction, MOST_IN_ROW),
        decomposition=cut(said.decomposition, MOST_IN_ROW),
        ranks=cut(_ranks(said.ranks), MOST_IN_ROW),
        n_params=record.n_params,
        head_params=file.head_params,
        score=_known(record.score),
        report_score=statistics.fmean(again) if again else math.nan,
        report_std=statistics.stdev(again) if len(again) > 1 else math.nan,
        step=record.step,
        seconds=record.seconds,
        reason=cut(record.reason, MOST_IN_ROW),
        n_retests=len(again),
        bytes=BYTES_A_PARAMETER * record.n_params,
        extra_macs=_known(lora and lora.extra_macs),
        peak_memory_mb=max(memory, default=math.nan),
        completed_at=_known(record.completed_at),
        settings=_settings(record),
        measures=_measures(record, file.metric),
        lora_rank=_known(lora and lora.rank),
        lora_bytes=_known(lora and lora.bytes),
        n_nonzero=_left(record),
        cut_from=record.cut_from,
    )


def _measures(record: Record, metric: str) -> dict[str, float]:
    """Means over the retests; and perplexities, where the score is a loss."""
    found: dict[str, list[float]] = {}
    for one in record.retests.values():
        for name, value in (one.measures or {}).items():
            found.setdefault(cut(name, MOST_IN_ROW), []).append(value)
    means = {name: statistics.fmean(values) for name, values in found.items()}
    if metric not in SHOWN:
        return means
    shown, number_of = SHOWN[metric]
    again = [one.report_score for one in record.retests.values()]
    known = {shown: record.score, f"report_{shown}": statistics.fmean(again) if again else None}
    numbers = {name: number_of(one) for name, one in known.items() if one is not None}
    return {**numbers, **means}


def _left(record: Record) -> int:
    if not record.rungs:
        return 0
    found = record.rungs[-1].n_nonzero
    return record.n_params if found is None else found


def _known(value: float | None) -> float:
    return math.nan if value is None else float(value)


def adapter_of(record: Record) -> AdapterSpec | None:
    """Of a trial; None where the specification is one that this version does not know."""
    try:
        return cast(AdapterSpec, value_of(AdapterSpec, record.proposed.spec["adapter"], "adapter"))
    except (KeyError, FieldError):
        return None


def _ranks(ranks: Sequence[int | tuple[int, ...]]) -> str:
    """8,8,3; with ranks a copy 8,8,3 | 4,4,1."""
    if ranks and isinstance(ranks[0], tuple):
        return " | ".join(_ranks(one) for one in ranks if isinstance(one, tuple))
    return ",".join(map(str, ranks))


def _settings(record: Record) -> dict[str, Value]:
    """What a specification says besides what a row has anyway; of a specification that this version
    does not know, whatever it says.
    """
    try:
        said = record.spec.columns()
    except QuestionError:
        said = dict(record.proposed.spec)
        adapter: Any = said.pop("adapter", None)
        said = {**(cast("dict[str, Any]", adapter) if isinstance(adapter, dict) else {}), **said}
    return {
        cut(name, MOST_IN_ROW): _plain(value)
        for name, value in said.items()
        if name not in FIELDS and not isinstance(value, Mapping | list | tuple)
    }


def _plain(value: object) -> Value:
    if value is None or isinstance(value, bool | int | float):
        return value
    return cut(value, MOST_IN_ROW)


def _scored_at(events: Sequence[Event]) -> list[float]:
    """For each rung the worker-seconds of all segments up to its own, whose event follows it."""
    found: list[float] = []
    n_waiting, seconds = 0, 0.0
    for event in events:
        if isinstance(event, Rung):
            n_waiting += 1
        elif isinstance(event, SegmentDone):
            seconds += event.seconds
            found += [seconds] * n_waiting
            n_waiting = 0
    return found + [seconds] * n_waiting


def _cut(file: RunFile) -> RunFile:
    """The file with the texts that a report shows at a length that it can bear."""
    hardware = file.hardware
    if hardware is not None:
        gpus = tuple(cut(one) for one in hardware.gpus)
        hardware = replace(hardware, cpu=cut(hardware.cpu), gpus=gpus)
    return replace(
        file,
        task=cut(file.task),
        model=cut(file.model),
        metric=cut(file.metric),
        data_digest=None if file.data_digest is None else cut(file.data_digest),
        command=None if file.command is None else cut(file.command),
        labels=tuple(cut(one) for one in file.labels),
        versions=cut_all(file.versions),
        hardware=hardware,
    )
