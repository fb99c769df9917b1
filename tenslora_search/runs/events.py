"""The events of trials.jsonl as types, and read_events(): the journal as it stands.

A line is one event: `{"event": "rung", "number": 3, "step": 53, ...}`; EVENTS has their names. A
search may be writing in the file while another process reads it.
"""

from collections.abc import Mapping
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Any, ClassVar, cast

from tenslora_search.runs.fields import (
    ByClass,
    FieldError,
    InnerPath,
    Name,
    Number,
    Seconds,
    parsed,
    record_of,
    value_of,
)
from tenslora_search.runs.versions import check_version
from tenslora_search.spec.table import QuestionError, Table
from tenslora_search.spec.trial import TrialSpec

JOURNAL_VERSION = 1
"""Of the events' form; what a newer version has written is refused rather than misread."""


@dataclass(frozen=True, slots=True)
class Event:
    """A line of the journal."""

    kind: ClassVar[str]
    """its name in the file"""

    def to_json(self) -> dict[str, Any]:
        return {"event": self.kind, **{one.name: getattr(self, one.name) for one in fields(self)}}


@dataclass(frozen=True, slots=True)
class Opened(Event):
    """The journal's first line."""

    kind = "journal"
    version: Number = 0


@dataclass(frozen=True, slots=True)
class Proposed(Event):
    """A new trial. What is said beside `spec` can be counted from it; reports of folders whose
    specifications this version does not know read it here.
    """

    kind = "proposed"
    number: Number
    point: Mapping[str, str | bool | int | float]
    """of the space, which the specification was made of"""
    spec: Mapping[str, Any]
    """a TrialSpec as JSON: `trial_spec` makes it"""
    n_params: Number
    method: str
    construction: str
    decomposition: str
    ranks: tuple[Number | tuple[Number, ...], ...]
    cut_from: Number | None = None
    """the trial whose trained adapter was cut down to this one, which is not trained itself; None,
    and then not written: it is a trial of its own
    """

    def to_json(self) -> dict[str, Any]:
        said = Event.to_json(self)
        if self.cut_from is None:
            del said["cut_from"]
        return said

    @classmethod
    def of(
        cls, number: int, point: Mapping[str, Any], spec: TrialSpec, cut_from: int | None = None
    ) -> "Proposed":
        adapter = spec.adapter
        return cls(
            number,
            dict(point),
            spec.to_json(),
            adapter.n_params,
            spec.method,
            adapter.construction,
            adapter.decomposition,
            tuple(adapter.ranks),
            cut_from,
        )

    def trial_spec(self) -> TrialSpec:
        """`QuestionError` for a specification that this version does not know, or that is wrong."""
        try:
            return cast(TrialSpec, value_of(TrialSpec, self.spec, "spec"))
        except FieldError as error:
            raise QuestionError(f"trial {self.number} cannot be read: {error}") from error


@dataclass(frozen=True, slots=True)
class Earlier(Event):
    """A trial of an earlier run that this search's sampler is told of (`--warm-start`), as a point
    of this search's space. It is no trial of this search.
    """

    kind = "earlier"
    run: Name
    trial: Number
    """its number there"""
    point: Mapping[str, str | bool | int | float]
    n_params: Number
    """of the point, here"""
    step: Number
    """the last one it was scored at, as a step of this search's trials"""
    score: float
    is_same: bool
    """whether that run was about the same data and model, by the same metric"""


@dataclass(frozen=True, slots=True)
class Rung(Event):
    """A trial was trained to a rung and scored there on select."""

    kind = "rung"
    number: Number
    step: Number
    score: float
    loss: float | None = None
    seconds: Seconds = 0.0
    """its share of its segment's"""
    peak_memory_mb: Seconds | None = None
    state: InnerPath | None = None
    """where its weights lie, relative to the run folder; None: somebody else keeps them"""
    n_nonzero: Number | None = None
    """trained numbers that training has left in terms that are not zero; None, and then not
    written: all of them
    """

    def to_json(self) -> dict[str, Any]:
        said = Event.to_json(self)
        if self.n_nonzero is None:
            del said["n_nonzero"]
        return said


@dataclass(frozen=True, slots=True)
class Cut(Event):
    """A segment ended before its rung, because time was up: the trial is trained to `step`, without
    a score.
    """

    kind = "cut"
    number: Number
    step: Number
    state: InnerPath | None = None
    seconds: Seconds = 0.0


@dataclass(frozen=True, slots=True)
class Promoted(Event):
    """A trial may climb to its next rung."""

    kind = "promoted"
    number: Number
    step: Number


@dataclass(frozen=True, slots=True)
class Paused(Event):
    """A trial may not climb for now."""

    kind = "paused"
    number: Number
    step: Number


@dataclass(frozen=True, slots=True)
class Complete(Event):
    """A trial has reached the top."""

    kind = "complete"
    number: Number
    step: Number
    score: float


@dataclass(frozen=True, slots=True)
class Failed(Event):
    """A trial has failed for good."""

    kind = "failed"
    number: Number
    step: Number
    reason: str
    seconds: Seconds = 0.0


@dataclass(frozen=True, slots=True)
class SegmentDone(Event):
    """Ends what one segment gave; `seconds` are a worker's."""

    kind = "segment"
    id: Name
    numbers: tuple[Number, ...]
    from_step: Number
    to_step: Number
    seconds: Seconds


@dataclass(frozen=True, slots=True)
class Wave(Event):
    """All that there was to decide is decided: what waits now is trained before the next decision.
    Searches that decide as trials come back have none.
    """

    kind = "wave"
    wave: Number


@dataclass(frozen=True, slots=True)
class Retest(Event):
    """A trial of the front, trained again from a fresh seed, was scored on report."""

    kind = "retest"
    number: Number
    seed: Number
    report_score: float
    seconds: Seconds = 0.0
    state: InnerPath | None = None
    measures: Mapping[str, float] | None = None
    """what was measured besides, by name: of what was written, of what was forgotten"""
    by_class: ByClass | None = None

    def to_json(self) -> dict[str, Any]:
        said = Event.to_json(self)
        return {k: v for k, v in said.items() if v or k not in ("measures", "by_class")}


@dataclass(frozen=True, slots=True)
class RetestFailed(Event):
    """A retest failed, and once more; it is tried again when the search is opened anew."""

    kind = "retest_failed"
    number: Number
    seed: Number
    reason: str


@dataclass(frozen=True, slots=True)
class HeadAlone(Event):
    """The task head, trained on the frozen model without an adapter, was scored; of a model without
    a task head, the model as it is.
    """

    kind = "head_alone"
    seed: Number
    """0: the search's own, scored on select; else a retest's, scored on report"""
    score: float
    seconds: Seconds = 0.0


EVENTS: Table[type[Event]] = Table(
    "event",
    {
        one.kind: one
        for one in (
            Opened, Earlier, Proposed, Rung, Cut, Promoted, Paused, Complete, Failed, SegmentDone,
            Wave, Retest, RetestFailed, HeadAlone,
        )
    },
)  # fmt: skip


def event_of(data: object) -> Event:
    """The event of a line's JSON; `FieldError` for what is none."""
    if not isinstance(data, Mapping) or "event" not in data:
        raise FieldError("", "it is no event")
    kind = cast("Mapping[str, object]", data)["event"]
    if not isinstance(kind, str) or kind not in EVENTS:
        known = ", ".join(EVENTS)
        raise FieldError("event", f"it is no event that this version knows: {known}")
    return record_of(EVENTS[kind], cast(object, data))


def read_events(path: Path) -> list[Event]:
    """All events of a trials.jsonl, none where there is no file; a last line without its end is not
    there yet.

    `QuestionError` for any other line that is no event, with its number and the field that is
    wrong, and for a newer version.
    """
    return [event for _, event in numbered_events(path)]


def numbered_events(path: Path) -> list[tuple[int, Event]]:
    """As `read_events`, each with the number of its line, from 1."""
    try:
        lines = path.read_bytes().split(b"\n")[:-1] if path.exists() else []
    except OSError as error:
        raise QuestionError(f"cannot read {path}: {error.strerror}.") from error
    every = enumerate(lines, start=1)
    return [(number, _event(path, number, line)) for number, line in every if line.strip()]


def _event(path: Path, number: int, line: bytes) -> Event:
    try:
        event = event_of(parsed(line))
    except FieldError as error:
        found = f", {error}" if error.field else f" is no event: {error}"
        raise QuestionError(
            f"{path} is damaged: line {number}{found}. Mend or remove the line, or choose another "
            "folder."
        ) from error
    if isinstance(event, Opened):
        check_version(path, event.version, JOURNAL_VERSION)
    return event
