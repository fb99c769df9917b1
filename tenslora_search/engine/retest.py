"""Retests: the front trained again from fresh seeds and scored on report, one segment a seed."""

from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import replace

from tenslora_search.report.methods import best_of_methods
from tenslora_search.report.pareto import leading
from tenslora_search.report.reading import read_run
from tenslora_search.runs.events import Event, Retest, RetestFailed
from tenslora_search.runs.segment import Entrant, Segment, TrialResult
from tenslora_search.study.study import MOST_RETRIES, Study

NOISE = 0.005
"""Trials of the front's neighbourhood this close to it, in score, are retested too."""
MOST_RETESTED = 12
"""Trials that are retested, and LoRA's best."""
RETEST_SEEDS = 1_000_000
"""Retest seeds are this far from the seeds of the search."""


class Retests:
    """The segments of `n_seeds` retests of what leads the front of a study that is done, and, with
    `of_methods`, of what leads its method at some size.
    """

    def __init__(self, study: Study, n_seeds: int, *, of_methods: bool = False) -> None:
        self.study, self.n_seeds, self.of_methods = study, n_seeds, of_methods
        self.left: list[Segment] | None = None
        """None until they are planned"""
        self.n_planned = 0
        self._running: dict[str, int] = {}
        self._failures: Counter[tuple[int, int]] = Counter()

    @property
    def done(self) -> bool:
        return self.left is not None and not self.left and not self._running

    @property
    def n_done(self) -> int:
        return self.n_planned - len(self.left or ()) - len(self._running)

    def next_segment(self) -> Segment | None:
        """None if all are handed out; they are planned when the first is asked for."""
        if self.left is None:
            self._plan()
        if not self.left:
            return None
        segment = self.left.pop(0)
        self._running[segment.id] = segment.data_seed - self.study.seed
        return segment

    def drop(self) -> None:
        """No more of them: time is up."""
        self.n_planned -= len(self.left or ())
        self.left = []

    def holds(self, segment: Segment) -> bool:
        """Whether a segment that is running is one of these."""
        return segment.id in self._running

    def record(
        self,
        segment: Segment,
        results: Sequence[TrialResult],
        keep: Callable[[TrialResult, str], str],
    ) -> None:
        """Writes down what came back: `keep(result, name)` takes a trial's state into the run
        folder and says where it lies there.
        """
        seed = self._running.pop(segment.id)
        events: list[Event] = []
        for one in results:
            if one.is_cut:
                continue
            if one.score is not None:
                state = keep(one, f"retest-{one.number}-{seed}")
                found = one.score, one.seconds, state, one.measures, one.by_class
                events.append(Retest(one.number, seed, *found))
                continue
            self._failures[one.number, seed] += 1
            if self._failures[one.number, seed] > MOST_RETRIES:
                events.append(RetestFailed(one.number, seed, one.reason or "it has no score"))
        self.study.write(events)
        is_cut = any(one.is_cut for one in results)
        if not self.left and not self._running and not is_cut:
            self._plan()

    def _plan(self) -> None:
        """What leads and LoRA's best, from fresh seeds; one segment a seed: all see the same rows
        in order.

        Asked again when all are back: a failed one has one more try, and `smallest`, once the noise
        is known, may be another.
        """
        record = read_run(self.study.folder)
        typical = record.typical_noise("select")
        lora = [one for one in record.complete if one.method == "LoRA"]
        members = dict.fromkeys(leading(record.rows, MOST_RETESTED, NOISE, typical))
        if lora:
            members |= {max(lora, key=lambda one: one.score).number: None}
        if self.of_methods:
            leaders = best_of_methods(record.rows, record.file.budget).values()
            members |= {one.number: None for one in leaders}
        self.left = []
        for seed in range(1, self.n_seeds + 1):
            numbers = [number for number in members if self._is_open(number, seed)]
            if numbers:
                self.left.append(self._segment(numbers, seed))
        self.n_planned += len(self.left)

    def _is_open(self, number: int, seed: int) -> bool:
        is_done = seed in self.study.records[number].retests
        return not is_done and self._failures[number, seed] <= MOST_RETRIES

    def _segment(self, numbers: Sequence[int], seed: int) -> Segment:
        specs = [self.study.records[number].spec for number in numbers]
        fresh = [replace(spec, seed=spec.seed + seed * RETEST_SEEDS) for spec in specs]
        entrants = [Entrant(number, spec) for number, spec in zip(numbers, fresh, strict=True)]
        return Segment(
            id=f"retest-{seed}",
            entrants=tuple(entrants),
            from_step=0,
            to_step=self.study.setting.max_steps,
            setting=self.study.setting,
            data_seed=self.study.seed + seed,
            split="report",
        )
