"""Retests: the front trained again from fresh seeds and scored on report, in a few packs a seed.

Before them what stands beside the trials: the task head alone, and adapters of the front cut down.
"""

import logging
import math
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import replace

from tenslora_search.report.methods import best_of_methods
from tenslora_search.report.pareto import front, leading
from tenslora_search.report.reading import RunRecord, read_run
from tenslora_search.runs.events import (
    Complete,
    Event,
    HeadAlone,
    Proposed,
    Retest,
    RetestFailed,
    Rung,
    SegmentDone,
)
from tenslora_search.runs.paths import inside
from tenslora_search.runs.segment import HEAD_ALONE, Entrant, Segment, TrialResult
from tenslora_search.runs.states import is_whole
from tenslora_search.spec.adapter import AdapterSpec
from tenslora_search.spec.knobs import Named
from tenslora_search.spec.trial import LEVEL, TrialSpec
from tenslora_search.study.cuts import cuts_of
from tenslora_search.study.order import packs
from tenslora_search.study.study import MOST_RETRIES, Study

LOGGER = logging.getLogger("tenslora_search")
NOISE = 0.005
"""Trials of the front's neighbourhood this close to it, in score, are retested too."""
MOST_RETESTED = 12
"""Trials that are retested, and LoRA's best."""
RETEST_SEEDS = 1_000_000
"""Retest seeds are this far from the seeds of the search."""
MOST_CUT = 6
"""Members of the front that are cut down: the largest."""

Keep = Callable[[TrialResult, str], str]
"""(result, name): takes a trial's state into the run folder; where it lies there."""


class Retests:
    """The segments of `n_seeds` retests of what leads the front of a study that is done, and, with
    `of_methods`, of what leads its method at some size. First, unless there are no retests, the
    task head alone and, with `cuts`, cuts of the front's members are scored on select.
    """

    def __init__(
        self, study: Study, n_seeds: int, *, of_methods: bool = False, cuts: bool = True
    ) -> None:
        self.study, self.n_seeds, self.of_methods, self.cuts = study, n_seeds, of_methods, cuts
        self.left: list[Segment] | None = None
        """None until they are planned"""
        self.n_planned = 0
        self._packs_a_seed = 1
        self._running: dict[str, int] = {}
        self._failures: Counter[tuple[int, int]] = Counter()
        self._cut_from: dict[int, int] = {}

    @property
    def done(self) -> bool:
        return self.left is not None and not self.left and not self._running

    @property
    def n_at_most(self) -> int:
        """Trials that are trained again, over all seeds, with LoRA's best and the head alone; none
        while none is complete.
        """
        n_complete = sum(one.state == "complete" for one in self.study.records.values())
        return self.n_seeds * (min(n_complete, MOST_RETESTED) + 2) if n_complete else 0

    @property
    def n_done(self) -> int:
        """Of the retests, as `n_planned`: what comes before them is not counted."""
        left = sum(one.split == "report" for one in self.left or ())
        return self.n_planned - left - sum(seed > 0 for seed in self._running.values())

    def next_segment(self, split: int) -> Segment | None:
        """None if all are handed out; they are planned when the first is asked for, in `split`
        packs.
        """
        self._packs_a_seed = math.ceil(split / max(1, self.n_seeds))
        if self.left is None:
            self.left = self._beside() if self.n_seeds else []
            if not self.left:
                self._plan()
        if not self.left:
            return None
        segment = self.left.pop(0)
        self._running[segment.id] = segment.data_seed - self.study.seed
        return segment

    def drop(self) -> None:
        """No more of them: time is up."""
        self.n_planned -= sum(one.split == "report" for one in self.left or ())
        self.left = []

    def holds(self, segment: Segment) -> bool:
        """Whether a segment that is running is one of these."""
        return segment.id in self._running

    def record(self, segment: Segment, results: Sequence[TrialResult], keep: Keep) -> None:
        """Writes down what came back."""
        seed = self._running.pop(segment.id)
        own = [one for one in results if one.number != HEAD_ALONE and not one.is_cut]
        alone = [one for one in results if one.number == HEAD_ALONE and not one.is_cut]
        events = self._of_retests(own, seed, keep) if seed else self._of_cuts(own, segment, keep)
        for one in alone:
            self._failures[HEAD_ALONE, seed] += MOST_RETRIES + 1  # it is not tried again
            if one.score is None:
                LOGGER.warning("the model without an adapter could not be scored: %s", one.reason)
            else:
                events.append(HeadAlone(seed, one.score, one.seconds))
        self.study.write(events)
        is_cut = any(one.is_cut for one in results)
        if not self.left and not self._running and not is_cut:
            self._plan()

    def _of_retests(self, results: Sequence[TrialResult], seed: int, keep: Keep) -> list[Event]:
        events: list[Event] = []
        for one in results:
            if one.score is not None:
                state = keep(one, f"retest-{one.number}-{seed}")
                found = one.score, one.seconds, state, one.measures, one.by_class
                events.append(Retest(one.number, seed, *found))
                continue
            self._failures[one.number, seed] += 1
            if self._failures[one.number, seed] > MOST_RETRIES:
                events.append(RetestFailed(one.number, seed, one.reason or "it has no score"))
        return events

    def _of_cuts(self, results: Sequence[TrialResult], segment: Segment, keep: Keep) -> list[Event]:
        """A trial more for each cut, complete as it is; none where it has no score. A segment's end
        follows, without which they are scored once more after a crash.
        """
        events: list[Event] = []
        entrants = {one.number: one for one in segment.entrants}
        scored = [one for one in results if one.score is not None]
        for number, one in enumerate(scored, start=len(self.study.records)):
            assert one.score is not None
            parent = self.study.records[self._cut_from[one.number]]
            state = keep(one, f"{number}-{one.step}")
            events += [
                Proposed.of(number, parent.point, entrants[one.number].ended, parent.number),
                Rung(number, one.step, one.score, None, one.seconds, None, state),
                Complete(number, one.step, one.score),
            ]
        numbers = tuple(event.number for event in events if isinstance(event, Proposed))
        ends = segment.id, numbers, segment.from_step, segment.to_step
        seconds = sum(one.seconds for one in scored)
        return [*events, SegmentDone(*ends, seconds)] if events else []

    def _beside(self) -> list[Segment]:
        """The head alone and the cuts, as far as they are not scored yet: of a search that has
        completed a trial.
        """
        record = read_run(self.study.folder)
        if not record.complete:
            return []
        self._head_alone = _head_alone(record, self.study)
        found: list[Segment] = []
        if 0 not in self.study.told.head_alone:
            alone = Entrant(HEAD_ALONE, self._head_alone)
            # without a head there is nothing to train
            from_step = 0 if record.file.head_params else self.study.setting.max_steps
            found.append(self._segment("head-alone", [alone], 0, from_step))
        if entrants := self._cuts(record) if self.cuts else []:
            found.append(self._segment("cuts", entrants, 0, self.study.setting.max_steps))
        return found

    def _cuts(self, record: RunRecord) -> list[Entrant]:
        """Cuts of the largest members of the front, as it was before any was cut, so that a search
        that is opened again cuts the same; those that there are already left out.
        """
        records = self.study.records
        known = {(one.cut_from, one.spec.adapter) for one in records.values()}
        members = sorted(front(record.trained), key=lambda one: -one.n_params)
        found: list[Entrant] = []
        for one in (records[row.number] for row in members[:MOST_CUT]):
            state = inside(self.study.folder, one.file or "").resolve()
            if not one.file or not is_whole(state):
                continue
            for cut in cuts_of(one.spec.adapter, self.study.space.limits):
                if (one.number, cut) not in known:
                    number = len(records) + len(found)
                    self._cut_from[number] = one.number
                    found.append(Entrant(number, one.spec, str(state), cut))
        return found

    def _plan(self) -> None:
        """What leads and LoRA's best, from fresh seeds, and the head alone: all of a seed see the
        same rows in order.

        Asked again when all are back: a failed one has one more try, and `smallest`, once the noise
        is known, may be another.
        """
        record = read_run(self.study.folder)
        typical = record.typical_noise("select")
        lora = [one for one in record.complete if one.method == "LoRA"]
        members = dict.fromkeys(leading(record.rows, MOST_RETESTED, NOISE, typical))
        if lora:
            members |= {max(lora, key=lambda one: one.worth).number: None}
        if self.of_methods:
            leaders = best_of_methods(record.rows, record.file.budget).values()
            members |= {one.number: None for one in leaders}
        # cuts beside what they are cut from, which is then trained once for all in a pack
        members = sorted(members, key=self._trained)
        self.left = []
        for seed in range(1, self.n_seeds + 1):
            entrants = [
                self._entrant(number, seed) for number in members if self._is_open(number, seed)
            ]
            if record.complete and self._is_open(HEAD_ALONE, seed):
                alone = self._head_alone
                entrants.append(Entrant(HEAD_ALONE, _fresh(alone, seed)))
            for place, pack in enumerate(packs(entrants, len(entrants), self._packs_a_seed)):
                self.left.append(self._segment(f"retest-{seed}-{place}", pack, seed))
        self.n_planned += len(self.left)

    def _trained(self, number: int) -> int:
        """The trial that is trained for it: a cut's is the one that it was cut from."""
        cut_from = self.study.records[number].cut_from
        return number if cut_from is None else cut_from

    def _is_open(self, number: int, seed: int) -> bool:
        if number == HEAD_ALONE:
            is_done = seed in self.study.told.head_alone
        else:
            is_done = seed in self.study.records[number].retests
        return not is_done and self._failures[number, seed] <= MOST_RETRIES

    def _entrant(self, number: int, seed: int) -> Entrant:
        """The trial from a fresh seed; of a cut the one that it was cut from, cut down again."""
        one = self.study.records[number]
        spec = _fresh(self.study.records[self._trained(number)].spec, seed)
        return Entrant(number, spec, cut_to=None if one.cut_from is None else one.spec.adapter)

    def _segment(
        self, name: str, entrants: Sequence[Entrant], seed: int, from_step: int = 0
    ) -> Segment:
        """Of a retest's seed, which is scored on report; of 0, the search's own, on select."""
        return Segment(
            id=name,
            entrants=tuple(entrants),
            from_step=from_step,
            to_step=self.study.setting.max_steps,
            setting=self.study.setting,
            data_seed=self.study.seed + seed,
            split="report" if seed else "select",
        )


def _fresh(spec: TrialSpec, seed: int) -> TrialSpec:
    return replace(spec, seed=spec.seed + seed * RETEST_SEEDS)


def _head_alone(record: RunRecord, study: Study) -> TrialSpec:
    """Trained as the best trial's head is, beside the smallest adapter, which stays at zero."""
    best = study.records[max(record.complete, key=lambda one: one.worth).number].spec
    smallest = AdapterSpec.of("none", "cp", 1, best.adapter.geometry)
    return replace(best, adapter=smallest, rule=Named("head_alone"), allocator=LEVEL)
