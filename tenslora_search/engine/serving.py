"""Serving: what a search hands to an executor, probes and the segments of study and retest, and
what becomes of what comes back.
"""

import math
import time
from collections.abc import Callable, Sequence
from pathlib import Path

from tenslora_search.engine.asking import setting_of, with_answer
from tenslora_search.engine.progress import Beat, Progress, progress_of
from tenslora_search.engine.retest import Retests
from tenslora_search.engine.source import Work
from tenslora_search.runs.folder import move
from tenslora_search.runs.journal import Line
from tenslora_search.runs.paths import inside
from tenslora_search.runs.question import Question
from tenslora_search.runs.run_file import RunFile
from tenslora_search.runs.segment import Answer, Probe, Segment, TrialResult
from tenslora_search.runs.states import clear, is_whole
from tenslora_search.spec.tasks import TASKS
from tenslora_search.spec.tasks.task import SPLIT
from tenslora_search.study.asked import space_of
from tenslora_search.study.measured import geometries_of, measured_of
from tenslora_search.study.study import Study

CPU_PACK = 8
"""Trials side by side on a CPU core, where more bring nothing (reports/bench_packs.md)."""
UNMEASURED_PACK = 16
"""On a GPU on which it could not be measured."""
RETEST_SHARE, MOST_SHARE = 0.25, 0.5
"""Of the time limit that is kept for the retest: at least, and where it is seen to take longer."""
SECONDS_BETWEEN_BEATS = 10.0
"""A search that has nothing else to tell says where a segment stands."""
PACK_SIZE = "pack_size"
"""The probe that is asked on a GPU."""


class Serving:
    """The source of a search: probes, the study's segments, then the retest's; writes down what
    comes back.
    """

    def __init__(
        self,
        folder: Path,
        question: Question,
        run_file: RunFile,
        *,
        began: float,
        time_limit: float | None,
        pack: int | None,
        progress: Callable[[Progress], None] | None,
        listeners: Sequence[Callable[[Line], object]] = (),
    ) -> None:
        self.folder, self.question, self.run_file = folder, question, run_file
        self.progress, self.began, self.time_limit = progress, began, time_limit
        self.space = space_of(
            question, geometries_of(run_file), run_file.budget, measured_of(run_file)
        )
        self.study = Study.of(
            question,
            self.space,
            folder,
            setting=setting_of(question, run_file),
            listeners=listeners,
        )
        self.retests = Retests(
            self.study, question.retest, of_methods=question.retest_methods, cuts=question.cut
        )
        self._pack, self._n_workers, self._on_gpu = pack, 1, False
        self._is_probing = False
        self._seconds_a_step = self._seconds_spent = 0.0
        self._trial_steps = 0
        self._running: dict[str, Segment] = {}
        self._beats: dict[str, Beat] = {}
        self._told = began
        self.interrupted = self.stopped = False
        clear(folder, self.study.records.values())

    @property
    def done(self) -> bool:
        return self.study.done and self.retests.done

    @property
    def seconds(self) -> float:
        """Since the search began."""
        return time.monotonic() - self.began

    @property
    def seconds_left(self) -> float:
        """Until a segment that begins now is cut short: those of the study when the retest
        begins.
        """
        end = self._seconds_of_search if self.retests.left is None else self.time_limit
        return math.inf if end is None else max(0.0, end - self.seconds)

    def stop(self, *, at_once: bool = False) -> None:
        """First call: no more search, only what is needed for the report; second, or `at_once`: not
        even that.
        """
        self.interrupted = self.interrupted or self.stopped or at_once
        self.stopped = True
        self.study.stop()

    def served_by(self, n_workers: int, *, on_gpu: bool) -> None:
        self._n_workers, self._on_gpu = n_workers, on_gpu
        known = (self.run_file.probes or {}).get(PACK_SIZE)
        if self._pack is None and not on_gpu:
            self._pack = CPU_PACK
        elif self._pack is None and known:
            self._pack = max(1, int(known[0]))

    def next_work(self) -> Work | None:
        if self._pack is None:
            return self._probe()
        if self.seconds > self._seconds_of_search:
            self.study.stop()
        fresh = self._has_time_for_another
        segment = self._next_segment(fresh)
        if segment is None and not fresh and not self._running:
            self.study.stop()
        if segment is not None:
            self._running[segment.id] = segment
            return segment
        if not self.study.done:
            return None
        if self.interrupted or (self.time_limit is not None and self.seconds > self.time_limit):
            self.retests.drop()
        return self.retests.next_segment(self._split)

    def finished(
        self, segment: Segment, results: Sequence[TrialResult], folder: Path, seconds: float
    ) -> None:
        def keep(result: TrialResult, name: str) -> str:
            """Moves a trial's state into the run folder; where it lies there, for the journal."""
            state = f"states/{name}.safetensors"
            move(folder / f"{result.number}.safetensors", inside(self.folder, state))
            return state

        self._beats.pop(segment.id, None)
        if self.retests.holds(segment):
            self.retests.record(segment, results, keep)
        elif self._running.pop(segment.id, None) is not None:
            self._record(segment, results, keep, seconds)
        self._tell()

    def stands_at(self, segment: Segment, step: int) -> None:
        """Tells of it, if nothing else was told for a while."""
        last = self._beats.get(segment.id)
        is_same = last is not None and last.step <= step  # one whose worker was lost begins again
        begins = (last.first, last.first_heard) if last and is_same else (step, self.seconds)
        self._beats[segment.id] = beat = Beat(*begins, step, segment.to_step, self.seconds)
        if time.monotonic() - self._told >= SECONDS_BETWEEN_BEATS:
            self._tell(beat)

    def answered(self, probe: Probe, answer: Answer) -> None:
        if probe.name == PACK_SIZE:
            self._pack = max(1, int(answer[0]))
        self.run_file = with_answer(self.folder, self.run_file, probe, answer)
        self._tell()

    def failed(self, work: Work, reason: str) -> None:
        self._beats.pop(work.id, None)
        if isinstance(work, Probe):
            self._pack = UNMEASURED_PACK
        elif self.retests.holds(work):
            rows = [TrialResult(one, 0, None, None, reason, 0.0) for one in work.numbers]
            self.retests.record(work, rows, lambda result, name: "")
        elif self._running.pop(work.id, None) is not None:
            self.study.fail(work, reason)
        self._tell()

    def close(self) -> None:
        """The end of a search, whole or interrupted: what is no longer needed goes."""
        self.study.close()
        clear(self.folder, self.study.records.values())

    def _next_segment(self, fresh: bool) -> Segment | None:
        """The study's next, of trials whose states are whole; others begin again from nothing."""
        while self._pack is not None:
            segment = self.study.next_segment(self._pack, split=self._split, fresh=fresh)
            if segment is None or segment.from_step == 0:
                return segment
            lost = [
                one.number
                for one in segment.entrants
                if one.state is None or not is_whole(Path(one.state))
            ]
            if not lost:
                return segment
            self.study.give_back(segment)
            for number in lost:
                self.study.lose(number)
        return None

    def _record(
        self,
        segment: Segment,
        results: Sequence[TrialResult],
        keep: Callable[[TrialResult, str], str],
        seconds: float,
    ) -> None:
        states: dict[int, str | None] = {
            one.number: keep(one, f"{one.number}-{one.step}")
            for one in results
            if one.reason is None
        }
        self.study.record(segment, results, states, seconds)
        n_steps = max((one.step for one in results), default=0) - segment.from_step
        if n_steps > 0:
            self._seconds_a_step = seconds / n_steps
            self._seconds_spent += seconds
            self._trial_steps += n_steps * len(results)
        kept = {str(inside(self.folder, state).resolve()) for state in states.values() if state}
        for one in segment.entrants:
            if one.state is not None and one.state not in kept:
                Path(one.state).unlink(missing_ok=True)

    @property
    def _seconds_of_search(self) -> float:
        """When the search ends and the retest begins; nothing is kept for one before there is a
        trial to be retested.
        """
        if self.time_limit is None:
            return math.inf
        if not self.retests.n_at_most:
            return self.time_limit
        share = self._seconds_of_retest / self.time_limit
        return self.time_limit * (1 - min(MOST_SHARE, max(RETEST_SHARE, share)))

    @property
    def _seconds_of_retest(self) -> float:
        """By what a trial's step has taken so far, on average over packs of any width."""
        of_one = self._seconds_spent / max(1, self._trial_steps)
        return self.retests.n_at_most * self.question.max_steps * of_one / self._n_workers

    @property
    def _has_time_for_another(self) -> bool:
        """Whether a trial begun now could reach the top in time; else those on their way go first,
        so that some do.
        """
        needed = self._seconds_a_step * self.question.max_steps
        return self.seconds + needed < self._seconds_of_search

    @property
    def _split(self) -> int:
        """Packs that the trials of a rung are cut into: on GPUs none goes without."""
        asked = self.question
        task = TASKS[asked.task].split_of(asked.model) if asked.task else SPLIT
        return asked.split or (self._n_workers if self._on_gpu else task)

    def _probe(self) -> Probe | None:
        """Asks a worker, once, how many trials like the first ones it takes at a time."""
        if self._is_probing:
            return None
        self._is_probing = True
        points = enumerate(self.space.seeds())
        specs = tuple(self.space.trial(point, number) for number, point in points)
        return Probe(PACK_SIZE, self.study.setting, specs)

    def _tell(self, beat: Beat | None = None) -> None:
        self._told = time.monotonic()
        if self.progress is None:
            return
        left = None if self.time_limit is None else max(0.0, self.time_limit - self.seconds)
        self.progress(
            progress_of(
                self.study,
                phase="search" if self.retests.left is None else "retest",
                seconds=self.seconds,
                seconds_left=left,
                n_retests=(self.retests.n_done, self.retests.n_planned),
                beat=beat,
            )
        )
