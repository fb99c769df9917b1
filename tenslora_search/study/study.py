"""Study: many trials as pure decisions: what to propose, who climbs, what to train next. It knows
neither Ray nor torch.

`trials.jsonl` is the truth: a Study on an existing folder replays it and goes on. The sampler
proposes in view of every trial's score at the last rung it has reached.
"""

import math
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Self

from tenslora_search.report.pareto import front
from tenslora_search.runs.events import (
    JOURNAL_VERSION,
    Complete,
    Cut,
    Earlier,
    Event,
    Failed,
    Opened,
    Paused,
    Promoted,
    Rung,
    SegmentDone,
    Wave,
)
from tenslora_search.runs.journal import Journal, Line
from tenslora_search.runs.paths import inside
from tenslora_search.runs.question import Question
from tenslora_search.runs.replay import Record, Replay
from tenslora_search.runs.segment import Entrant, Segment, Setting, TrialResult
from tenslora_search.spec.tasks.task import SPLIT
from tenslora_search.study.dashboard import Dashboard
from tenslora_search.study.earlier import earlier_of
from tenslora_search.study.known import references
from tenslora_search.study.order import AsTheyCome, Group, Order, Waves
from tenslora_search.study.proposals import Proposals
from tenslora_search.study.pruners import PRUNERS, Standing
from tenslora_search.study.records import check_records, judged
from tenslora_search.study.samplers import SAMPLERS
from tenslora_search.study.space import SearchSpace

MOST_RETRIES = 1
"""A segment that cannot be run gives its trials back this often before they fail."""


class Study:
    """Proposes `n_trials` trials from a space and takes them up the rungs (cumulative steps, eta
    apart).

    `objective` is "front" (score and log10 parameters) or "score". LoRA at two sizes always climbs.
    Segments say what they train in by `setting`; a new folder asks for `earlier` trials.
    """

    def __init__(
        self,
        space: SearchSpace,
        folder: Path,
        *,
        n_trials: int,
        rungs: Sequence[int],
        eta: int = 3,
        sampler: str = "tpe",
        pruner: str = "front",
        objective: str = "front",
        seed: int = 0,
        asynchronous: bool = False,
        setting: Setting | None = None,
        listeners: Sequence[Callable[[Line], object]] = (),
        earlier: Callable[[], Sequence[Earlier]] = tuple,
    ) -> None:
        self.space, self.folder, self.n_trials = space, folder, n_trials
        self.rungs, self.seed, self.setting = tuple(rungs), seed, setting or Setting()
        self.journal = Journal(folder / "trials.jsonl", listeners)
        self._order: Order = AsTheyCome() if asynchronous else Waves(n_trials)
        self._judge = PRUNERS[pruner](eta, len(self.rungs))
        self._stopped = False
        self._retries: Counter[int] = Counter()
        self.told = Replay()
        events = self.journal.whole(self._order.unfinished)
        self._standings: dict[int, Standing] = {}
        self._learn(events)
        check_records(self.told, space, self.rungs, folder)
        self._n_segments = self.told.n_segments
        self.dashboard = Dashboard(folder / "study.journal", space, objective, self.told.trials)
        if not events:
            self.write([Opened(JOURNAL_VERSION), *earlier()])
        self._proposals = Proposals(
            space, SAMPLERS[sampler], objective,
            n_trials=n_trials, seed=seed, earlier=self.told.earlier,
        )  # fmt: skip
        self._complete_at_top()
        self._order.opened(self)

    @classmethod
    def of(
        cls,
        question: Question,
        space: SearchSpace,
        folder: Path,
        *,
        setting: Setting | None = None,
        listeners: Sequence[Callable[[Line], object]] = (),
    ) -> Self:
        """The study that a search's question asks for."""
        digests: dict[str, str | None] = setting.task.get("expected", {}) if setting else {}
        return cls(
            space,
            folder,
            n_trials=question.trials,
            rungs=question.rungs,
            eta=question.eta,
            sampler=question.sampler,
            pruner=question.pruner,
            objective=question.objective,
            seed=question.seed,
            asynchronous=question.asynchronous,
            setting=setting,
            listeners=listeners,
            earlier=lambda: earlier_of(question, space, digests),
        )

    @property
    def records(self) -> dict[int, Record]:
        """All trials by number."""
        return self.told.records

    @property
    def done(self) -> bool:
        """Whether nothing is left to train, and nothing is running."""
        if self.is_running or self._stopped:
            return not self.is_running
        is_judged = all(one.state != "reached" for one in self.records.values())
        return is_judged and not self.waiting and not self._n_left

    @property
    def exhausted(self) -> bool:
        """Whether the space held fewer configurations than trials were asked for."""
        return self._proposals.exhausted

    def next_segment(self, limit: int, *, split: int = SPLIT, fresh: bool = True) -> Segment | None:
        """Up to `limit` trials to train next; None while running ones have to come back first, or
        nothing is left.

        The trials of a rung are cut into `split` packs or more (see `Waves`). Without `fresh` no
        trial is begun any more: those that wait are taken to the top, the highest first.
        """
        if self._stopped:
            return None
        return self._order.next_segment(self, limit, split, fresh=fresh)

    def record(
        self,
        segment: Segment,
        results: Sequence[TrialResult],
        states: Mapping[int, str | None],
        seconds: float,
    ) -> None:
        """Takes down what a segment gave; judges everyone on its rung.

        `states`: files relative to the run folder; None for a trial whose weights are kept
        elsewhere.
        """
        events: list[Event] = []
        for one in results:
            events += self._events_of(one, states.get(one.number))
        reached = max((one.step for one in results), default=segment.to_step)
        about = segment.id, segment.numbers, segment.from_step, reached
        self.write([*events, SegmentDone(*about, seconds)])
        if any(isinstance(one, Rung) for one in events):
            is_top = segment.to_step == self.rungs[-1]
            self._order.recorded(self, None if is_top else self.rungs.index(segment.to_step))
        for number in segment.numbers:
            if self.records[number].state in ("complete", "failed"):
                self.dashboard.ended(self.records[number])

    def go_on(self, number: int) -> Segment | None:
        """The next rung of one trial that is trained alone; None if it is not cleared for it."""
        record = self.records[number]
        return self.start(self._group(record), [record]) if record.state == "waiting" else None

    def give_back(self, segment: Segment) -> None:
        """The segment was not trained and may be handed out again."""
        for number in segment.numbers:
            self.records[number].state = "waiting"

    def lose(self, number: int) -> None:
        """A trial's paused state is no more: it begins again from nothing, on its way to the same
        rung.
        """
        self.records[number].is_lost = True

    def fail(self, segment: Segment, reason: str) -> None:
        """The segment cannot be trained: its trials are given back once, then they have failed."""
        self.give_back(segment)
        for record in (self.records[number] for number in segment.numbers):
            self._retries[record.number] += 1
            if self._retries[record.number] > MOST_RETRIES:
                self.write([Failed(record.number, record.step, reason)])
                self.dashboard.ended(record)

    def stop(self) -> None:
        """No more segments: the time is used up, or the user wants to see what there is."""
        self._stopped = self._stopped or not self.done

    def close(self) -> None:
        """At the end of a search that was not stopped early: the dashboard shows that what is
        paused will not go on.
        """
        if self.done and not self._stopped:
            for record in self.told.trials.values():
                self.dashboard.ended(record)

    def front(self) -> list[int]:
        """Complete trials that no other beats in both score and parameters, best score first; once
        all are trained, by their estimates (where there are enough for a model), as a report does.
        """
        rows = judged(self.records) if self.done else list(self.records.values())
        return [one.number for one in front(rows)]

    @property
    def is_running(self) -> bool:
        """Whether segments are handed out that did not come back."""
        return any(record.state == "running" for record in self.records.values())

    @property
    def waiting(self) -> dict[Group, list[Record]]:
        """Trials cleared for their next rung."""
        groups: dict[Group, list[Record]] = {}
        for record in self.records.values():
            if record.state == "waiting":
                groups.setdefault(self._group(record), []).append(record)
        return groups

    @property
    def _n_left(self) -> int:
        """Trials that are still to be proposed."""
        return 0 if self.exhausted else max(0, self.n_trials - len(self.told.trials))

    def _events_of(self, result: TrialResult, state: str | None) -> list[Event]:
        """Of one trial at the end of a segment, whole or cut short."""
        number, step, score, loss = result.number, result.step, result.score, result.loss
        if result.is_cut and step <= self.records[number].begins_at:
            self.records[number].state = "waiting"  # it was not trained at all
            return []
        if result.is_cut:
            return [Cut(number, step, state, result.seconds)]
        is_good = loss is None or math.isfinite(loss)
        if score is None or not math.isfinite(score) or not is_good:
            reason = result.reason or "its score is not finite"
            return [Failed(number, step, reason, result.seconds)]
        measured = result.seconds, result.peak_memory_mb, state, result.n_nonzero
        rung = Rung(number, step, score, loss, *measured)
        return [rung, Complete(number, step, score)] if step == self.rungs[-1] else [rung]

    def _group(self, record: Record) -> Group:
        return (self.rungs.index(record.step) if record.step else -1), record.begins_at

    def start(self, group: Group, members: Sequence[Record]) -> Segment:
        """Hands these out."""
        for record in members:
            record.state = "running"
        self._n_segments += 1
        rung, from_step = group
        entrants = [Entrant(one.number, one.spec, self._state(one)) for one in members]
        return Segment(
            id=f"segment-{self._n_segments:05d}",
            entrants=tuple(entrants),
            from_step=from_step,
            to_step=self.rungs[rung + 1],
            setting=self.setting,
            data_seed=self.seed,
        )

    def _state(self, record: Record) -> str | None:
        if record.file is None or record.is_lost:
            return None
        return str(inside(self.folder, record.file).resolve())

    def propose(self, count: int) -> list[Record]:
        """New trials, unlike all before; fewer than asked for if enough are proposed, or there are
        no others. Each batch is written at once: a crash leaves all of it or nothing.
        """
        before = len(self.records)
        for new in self._proposals.batches(self.records, count):
            self.write([event for event, _ in new])
            for event, spec in new:
                record = self.records[event.number]
                record.spec = spec  # what would be read from the event
                self.dashboard.proposed(record)
        return [self.records[number] for number in range(before, len(self.records))]

    def judge(self, rungs: Sequence[int]) -> int:
        """Asks the pruner about all that stand on one of these rungs and are not on their way; what
        it says is written at once. Of how many trials it is.
        """
        standing = [one for one in self.told.trials.values() if one.state in ("reached", "paused")]
        events: list[Event] = []
        for rung in rungs:
            here = [one for one in standing if one.step == self.rungs[rung]]
            if not here:
                continue
            kept = self._judge(list(self._standings.values()), rung) | references(self.told.trials)
            for one in here:
                if one.number in kept:
                    events.append(Promoted(one.number, one.step))
                elif one.state == "reached":
                    events.append(Paused(one.number, one.step))
        self.write(events)
        return len(events)

    def begin_wave(self) -> None:
        """What waits now is trained before the next decision."""
        self.write([Wave(self.told.n_waves + 1)])

    def _complete_at_top(self) -> None:
        """After a crash between a score at the last rung and what it means."""
        for one in self.records.values():
            if one.state == "reached" and one.step == self.rungs[-1]:
                self.write([Complete(one.number, one.step, one.score or 0.0)])
                self.dashboard.ended(one)

    def write(self, events: Sequence[Event]) -> None:
        """To the disk first, then into memory, by the way a replay takes."""
        if events:
            self.journal.append(*events)
        self._learn(events)

    def _learn(self, events: Sequence[Event]) -> None:
        """Into memory; a judge sees a trial anew when it has come further, or failed."""
        for event in events:
            self.told.apply(event)
            if isinstance(event, Rung | Complete) and event.number in self.told.trials:
                one = self.records[event.number]
                about = one.n_params, tuple(one.curve.values()), one.state == "complete"
                self._standings[one.number] = Standing(one.number, *about)
            elif isinstance(event, Failed):
                self._standings.pop(event.number, None)
