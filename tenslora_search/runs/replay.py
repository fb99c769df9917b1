"""replay(): a trial's state machine; the events of a journal make the records of its trials."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any, Literal

from tenslora_search.runs.events import (
    Complete,
    Cut,
    Earlier,
    Event,
    Failed,
    HeadAlone,
    Paused,
    Promoted,
    Proposed,
    Retest,
    RetestFailed,
    Rung,
    SegmentDone,
    Wave,
    numbered_events,
)
from tenslora_search.spec.table import QuestionError
from tenslora_search.spec.trial import TrialSpec

State = Literal["waiting", "running", "reached", "paused", "complete", "failed"]


@dataclass
class Record:
    """A trial so far: `waiting` for its next rung, for which it is cleared; `running`; a rung
    `reached` but not judged; ...

    No event says `running`: a study sets it for what it has handed out.
    """

    proposed: Proposed
    state: State = "waiting"
    rungs: list[Rung] = field(default_factory=list[Rung])
    """in the order of their steps"""
    cut: Cut | None = None
    """the last segment's end, if it came before its rung"""
    is_lost: bool = False
    """whether its paused state is no more; no event says so either"""
    reason: str = ""
    """why it failed"""
    retests: dict[int, Retest] = field(default_factory=dict[int, Retest])
    """by seed"""
    failed_retests: dict[int, str] = field(default_factory=dict[int, str])
    """the reason by seed; not of those that a later opening of the search made good"""
    completed_at: float | None = None
    """worker-seconds of all segments up to the one that completed it"""
    seconds: float = 0.0
    """of the search; retests are apart"""

    @property
    def number(self) -> int:
        return self.proposed.number

    @property
    def point(self) -> Mapping[str, Any]:
        """Of the space, which the specification was made of."""
        return self.proposed.point

    @property
    def cut_from(self) -> int | None:
        """The trial that it was cut down from; None for one that is trained itself."""
        return self.proposed.cut_from

    @property
    def n_params(self) -> int:
        return self.proposed.n_params

    @cached_property
    def spec(self) -> TrialSpec:
        """`QuestionError` where this version does not know it."""
        return self.proposed.trial_spec()

    @property
    def curve(self) -> dict[int, float]:
        """Score on select by step."""
        return {one.step: one.score for one in self.rungs}

    @property
    def step(self) -> int:
        """The last one it was scored at; 0 before its first rung."""
        return self.rungs[-1].step if self.rungs else 0

    @property
    def begins_at(self) -> int:
        """The step from which it goes on."""
        if self.is_lost:
            return 0
        return self.cut.step if self.cut is not None else self.step

    @property
    def score(self) -> float | None:
        return self.rungs[-1].score if self.rungs else None

    @property
    def file(self) -> str | None:
        """Its paused state, relative to the run folder."""
        last = self.cut if self.cut is not None else self.rungs[-1] if self.rungs else None
        return (last.state or None) if last is not None else None


Move = Rung | Cut | Promoted | Paused | Complete | Failed


class Replay:
    """Records, made of events one by one."""

    def __init__(self) -> None:
        self.records: dict[int, Record] = {}
        self.trials: dict[int, Record] = {}
        """those that a search trains: all but what was cut down from one of them"""
        self.head_alone: dict[int, HeadAlone] = {}
        """by seed; 0 on select, the others on report"""
        self.earlier: list[Earlier] = []
        self.n_segments = 0
        """the largest number in a segment's name"""
        self.seconds = 0.0
        """of all segments: a worker's"""
        self.n_waves = 0
        self.wave: dict[int, int] = {}
        """those that the last wave began with, by number: the step at which each stood"""
        self._completed: list[Record] = []

    def apply(self, event: Event) -> None:
        """`QuestionError` for an event of a trial that was not proposed, or one out of order."""
        match event:
            case Proposed():
                if event.number != len(self.records):
                    raise _wrong(event, event.number, f"{len(self.records)} is the next trial")
                self.records[event.number] = record = Record(event)
                if event.cut_from is None:
                    self.trials[event.number] = record
            case SegmentDone():
                tail = event.id.rpartition("-")[2]
                if tail.isdecimal():
                    self.n_segments = max(self.n_segments, int(tail))
                self.seconds += event.seconds
                for record in self._completed:
                    record.completed_at = self.seconds
                self._completed.clear()
            case Wave():
                waiting = [one for one in self.records.values() if one.state == "waiting"]
                self.wave = {one.number: one.step for one in waiting}
                self.n_waves = event.wave
            case Rung() | Cut() | Promoted() | Paused() | Complete() | Failed():
                self._move(event, self._known(event, event.number))
            case Retest():
                record = self._known(event, event.number)
                record.retests[event.seed] = event
                record.failed_retests.pop(event.seed, None)
            case RetestFailed():
                self._known(event, event.number).failed_retests[event.seed] = event.reason
            case Earlier():
                self.earlier.append(event)
            case HeadAlone():
                self.head_alone[event.seed] = event
            case _:
                pass

    def _known(self, event: Event, number: int) -> Record:
        if number not in self.records:
            raise _wrong(event, number, "it was not proposed before")
        return self.records[number]

    def _move(self, event: Move, record: Record) -> None:
        match event:
            case Rung():
                if event.step <= record.step:
                    raise _wrong(event, record.number, f"it has reached step {record.step} before")
                record.rungs.append(event)
                record.seconds += event.seconds
                record.state, record.cut, record.is_lost = "reached", None, False
            case Cut():
                if event.step < record.begins_at:
                    raise _wrong(event, record.number, f"it was trained to {record.begins_at}")
                record.seconds += event.seconds
                record.state, record.cut, record.is_lost = "waiting", event, False
            case Promoted():
                record.state = "waiting"
            case Paused():
                record.state = "paused"
            case Complete():
                record.state = "complete"
                record.completed_at = self.seconds
                self._completed.append(record)
            case Failed():
                record.state, record.reason = "failed", event.reason
                record.seconds += event.seconds


def replay(events: Iterable[Event]) -> dict[int, Record]:
    """What the events tell of each trial, by number; `QuestionError` for events out of order."""
    told = Replay()
    for event in events:
        told.apply(event)
    return told.records


def replayed(path: Path) -> tuple[list[Event], Replay]:
    """The events of a trials.jsonl, and what they tell; `QuestionError` as `read_events`, and for
    the line of an event that is out of order.
    """
    told, events = Replay(), list[Event]()
    for line, event in numbered_events(path):
        try:
            told.apply(event)
        except OutOfOrder as error:
            raise error.at(f"{path} is damaged: line {line}, ") from error
        events.append(event)
    return events, told


class OutOfOrder(QuestionError):
    """An event that cannot follow those before it."""

    def __init__(self, what: str, where: str = "trials.jsonl is damaged: ") -> None:
        super().__init__(f"{where}{what}. Mend or remove the line, or choose another folder.")
        self.what = what

    def at(self, where: str) -> "OutOfOrder":
        """The same, of a file and line that are known."""
        return OutOfOrder(self.what, where)


def _wrong(event: Event, number: int, problem: str) -> OutOfOrder:
    return OutOfOrder(f"event {event.kind} of trial {number}: {problem}")
