"""Serving: what a search hands to an executor, the segments of study and retest, and what becomes
of what comes back.
"""

import math
import time
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from tenslora_search.api.results import Run
from tenslora_search.report.pareto import leading
from tenslora_search.report.reading import read_run
from tenslora_search.runs.folder import move
from tenslora_search.runs.journal import Event
from tenslora_search.runs.question import Question, write_run_file
from tenslora_search.runs.run_file import read_run_file
from tenslora_search.spec.table import QuestionError
from tenslora_search.spec.trial import Segment, TrialResult
from tenslora_search.study.importance import importances
from tenslora_search.study.space import SearchSpace, geometries_of
from tenslora_search.study.study import MOST_RETRIES, Study, Work

NOISE = 0.005
"""Trials of the front's neighbourhood this close to it, in score, are retested too."""
MOST_RETESTED = 12
"""Trials that are retested, and LoRA's best."""
CPU_PACK = 8
"""Trials side by side on a CPU core, where more bring nothing (reports/bench_packs.md)."""
UNMEASURED_PACK = 16
"""On a GPU on which it could not be measured."""
SAMPLER_ROUNDS, LEAST_PACK = 4, 8
"""New trials come in this many packs at least, as long as a pack keeps so many."""
RETEST_SHARE = 0.25
"""Of the time limit that is kept for the retest."""
RETEST_SEEDS = 1_000_000
"""Retest seeds are this far from the seeds of the search."""


@dataclass(frozen=True, slots=True)
class Progress:
    """What a search tells while it runs, after each segment."""

    phase: str
    """search or retest"""
    counts: Mapping[str, int]
    """trials by state"""
    n_trials: int
    best: float | None
    front: Sequence[tuple[int, float, int, str]]
    """(number, score, parameters, method) of the front so far, best score first"""
    curves: Sequence[Sequence[float]]
    """scores by rung of each member of the front, in the same order"""
    worker_seconds: float
    seconds: float
    seconds_left: float | None
    """by the time limit"""
    n_retests: tuple[int, int]
    """done, of"""


class Interrupted(Exception):
    """Ctrl-C came, and the report of what there is was written; `run` has it."""

    def __init__(self, run: Run) -> None:
        super().__init__(f"interrupted; the report of what there is: {run.folder / 'report.html'}")
        self.run = run


class Serving:
    """The source of a search: the study's segments, then the retest's; writes down what comes
    back."""

    def __init__(
        self,
        folder: Path,
        question: Question,
        run_file: Mapping[str, Any],
        *,
        began: float,
        time_limit: float | None,
        pack: int | None,
        progress: Callable[[Progress], None] | None,
        listeners: Sequence[Callable[[Event], object]] = (),
    ) -> None:
        self.folder, self.question, self.run_file = folder, question, run_file
        self.progress, self.began, self.time_limit = progress, began, time_limit
        self.space = SearchSpace.load(question.space, geometries_of(run_file), run_file["budget"])
        self.study = Study(
            self.space,
            folder,
            n_trials=question.trials,
            rungs=question.rungs,
            eta=question.eta,
            sampler=question.sampler,
            pruner=question.pruner,
            objective=question.objective,
            seed=question.seed,
            listeners=listeners,
        )
        self._pack, self._is_asked, self._n_workers = pack, pack is not None, 1
        self._is_measuring, self._seconds_a_step = False, 0.0
        self.interrupted = self._stopped = False
        events = self.study.journal.read()
        self._retested = {
            (event["number"], event["seed"]) for event in events if event["event"] == "retest"
        }
        self._retest_failures: Counter[tuple[int, int]] = Counter()
        self._running: dict[str, Work] = {}
        self._retests: list[Segment] | None = None
        self._retests_running: set[str] = set()
        self._n_retests = 0

    @property
    def done(self) -> bool:
        return (
            self.study.done
            and self._retests is not None
            and not self._retests
            and not self._retests_running
        )

    def stop(self) -> None:
        """First call: no more search, only what is needed for the report; second: not even that."""
        self.interrupted = self._stopped
        self._stopped = True
        self.study.stop()

    def served_by(self, n_workers: int, *, on_gpu: bool) -> None:
        self._n_workers = n_workers
        if self._pack is None and not on_gpu:
            self._pack = CPU_PACK

    def next_segment(self) -> Segment | None:
        if self._pack is None:
            return self._measurement()
        if self._seconds > self._seconds_of_search:
            self.study.stop()
        fresh = self._has_time_for_another
        work = self.study.next_segment(self._limit(self._pack), fresh=fresh)
        if work is None and not fresh and not self._running:
            self.study.stop()
        if work is not None:
            self._running[work.id] = work
            return self._segment(
                work.id,
                zip(work.numbers, work.specs, strict=True),
                work.states,
                work.from_step,
                work.to_step,
            )
        if not self.study.done:
            return None
        if self._retests is None:
            self._plan_retests()
        if self._is_late:
            self._retests = []
        if not self._retests:
            return None
        segment = self._retests.pop(0)
        self._retests_running.add(segment.id)
        return segment

    def finished(
        self, segment: Segment, results: Sequence[TrialResult], folder: Path, seconds: float
    ) -> None:
        if segment.measures:
            self._pack = int(results[0].score or 1)
        elif segment.id in self._retests_running:
            self._record_retest(segment, results, folder)
        elif (work := self._running.pop(segment.id, None)) is not None:
            states = {}
            for result in results:
                if result.reason is None:
                    states[result.number] = self._keep(
                        folder, result, f"{result.number}-{result.step}"
                    )
            self.study.record(work, results, states, seconds)
            self._seconds_a_step = seconds / (work.to_step - work.from_step)
            for old in work.states:
                if old is not None:
                    (self.folder / old).unlink(missing_ok=True)
        self._tell()

    def failed(self, segment: Segment, reason: str) -> None:
        if segment.measures:
            self._pack = UNMEASURED_PACK
        elif segment.id in self._retests_running:
            self._record_retest(
                segment,
                [TrialResult(number, 0, None, None, reason, 0.0) for number, _ in segment.trials],
                None,
            )
        elif (work := self._running.pop(segment.id, None)) is not None:
            self.study.fail(work, reason)
        self._tell()

    def close(self) -> Run:
        """The end of a search, whole or interrupted: the report, then the adapters."""
        self.study.close()
        file = read_run_file(self.folder)
        seconds = file.get("wall_seconds", 0.0) + self._seconds
        write_run_file(self.folder, {**file, "wall_seconds": seconds, **self._importances()})
        run = Run(self.folder)
        run.report()
        if not self.interrupted:
            self._export(run)
        if self._stopped:
            raise Interrupted(run)
        return run

    def _importances(self) -> dict[str, Any]:
        try:
            return importances(self.study.journal.read(), self.space.searched)
        except (
            Exception
        ):  # whatever Optuna makes of unusual scores, the report is written: without this one page
            return {}

    def _export(self, run: Run) -> None:
        """What leads the front and all on it that were retested, in peft's format where that can
        hold it; takes away the earlier exports of others.
        """
        from tenslora_search.export.target import remove_export

        rows, adapters = run.front(), self.folder / "adapters"
        retested = rows.loc[rows["n_retests"] > 0, "number"].tolist()
        numbers = dict.fromkeys([*leading(run.rows, MOST_RETESTED), *retested])
        written, wrong = [], ""
        for number in numbers:
            is_low_rank = self.study.records[number].spec.adapter.is_low_rank
            form = "peft" if is_low_rank else "native"
            try:
                written.append(run.export(number, adapters / str(number), form))
            except QuestionError as error:
                wrong = wrong or str(error)
        for old in adapters.glob("[0-9]*"):
            if written and old.name not in map(str, numbers):
                remove_export(old, like=written[0])
        if wrong:
            raise QuestionError(f"{wrong} The report is written: {run.folder / 'report.html'}")

    @property
    def _seconds(self) -> float:
        return time.monotonic() - self.began

    @property
    def _seconds_of_search(self) -> float:
        """When the search ends and the retest begins."""
        if self.time_limit is None:
            return math.inf
        return self.time_limit * (1 - RETEST_SHARE * (self.question.retest > 0))

    @property
    def _has_time_for_another(self) -> bool:
        """Whether a trial begun now could reach the top in time; else those on their way go first,
        so that some do.
        """
        return (
            self._seconds + self._seconds_a_step * self.question.max_steps < self._seconds_of_search
        )

    @property
    def _is_late(self) -> bool:
        return self.interrupted or (self.time_limit is not None and self._seconds > self.time_limit)

    def _plan_retests(self) -> None:
        """What leads and LoRA's best, from fresh seeds; one segment a seed: all see the same rows
        in order.

        Asked again when all are back: a failed one has one more try, and `smallest`, once the noise
        is known, may be another.
        """
        record = read_run(self.folder)
        lora = [one for one in record.complete if one.method == "LoRA"]
        members = dict.fromkeys(leading(record.rows, MOST_RETESTED, NOISE))
        if lora:
            members |= {max(lora, key=lambda one: one.score).number: None}
        self._retests = []
        for seed in range(1, self.question.retest + 1):
            keys = [(number, seed) for number in members if (number, seed) not in self._retested]
            left = [key[0] for key in keys if self._retest_failures[key] <= MOST_RETRIES]
            if left:
                self._retests.append(self._retest(left, seed))
        self._n_retests += len(self._retests)

    def _retest(self, numbers: Sequence[int], seed: int) -> Segment:
        specs = [self.study.records[number].spec for number in numbers]
        fresh = [replace(spec, seed=spec.seed + seed * RETEST_SEEDS) for spec in specs]
        trials = zip(numbers, fresh, strict=True)
        segment = self._segment(
            f"retest-{seed}", trials, [None] * len(numbers), 0, self.question.max_steps
        )
        return replace(segment, split="report", data_seed=self.question.seed + seed)

    def _limit(self, pack: int) -> int:
        """Trials a segment: as asked; else no worker goes without, and the sampler sees scores
        before its last proposals.
        """
        if self._is_asked:
            return pack
        trials = self.question.trials
        return min(
            pack,
            max(LEAST_PACK, math.ceil(trials / SAMPLER_ROUNDS)),
            math.ceil(trials / self._n_workers),
        )

    def _measurement(self) -> Segment | None:
        """Asks a worker, once, how many trials like the first ones it takes at a time."""
        if self._is_measuring:
            return None
        self._is_measuring = True
        trials = [
            (number, self.space.trial(point, number))
            for number, point in enumerate(self.space.seeds())
        ]
        return replace(
            self._segment("measure", trials, [], 0, self.question.max_steps), measures=True
        )

    def _segment(
        self, name: str, trials: Any, states: Sequence[str | None], from_step: int, to_step: int
    ) -> Segment:
        expected = {what: self.run_file.get(f"{what}_digest") for what in ("data", "model")}
        return Segment(
            id=name,
            trials=tuple(trials),
            states=tuple(
                str((self.folder / state).resolve()) if state else None for state in states
            ),
            from_step=from_step,
            to_step=to_step,
            max_steps=self.question.max_steps,
            batch_size=self.question.batch_size,
            model=self.question.model,
            task={**self.question.task_options, "expected": expected},
            data_seed=self.question.seed,
        )

    def _record_retest(
        self, segment: Segment, results: Sequence[TrialResult], folder: Path | None
    ) -> None:
        """`folder` is None where the segment could not be run."""
        seed = int(segment.id.rpartition("-")[2])
        self._retests_running.discard(segment.id)
        for result in results:
            about = {"number": result.number, "seed": seed}
            if folder is not None and result.reason is None:
                state = self._keep(folder, result, f"retest-{result.number}-{seed}")
                score = {"report_score": result.score, "seconds": result.seconds, "state": state}
                self.study.journal.append({"event": "retest", **about, **score})
                self._retested.add((result.number, seed))
                continue
            self._retest_failures[result.number, seed] += 1
            if self._retest_failures[result.number, seed] > MOST_RETRIES:
                self.study.journal.append(
                    {"event": "retest_failed", **about, "reason": result.reason}
                )
        if not self._retests and not self._retests_running:
            self._plan_retests()

    def _keep(self, folder: Path, result: TrialResult, name: str) -> str:
        """Moves a trial's state into the run folder; where it lies there, for the journal."""
        state = f"states/{name}.safetensors"
        move(folder / f"{result.number}.safetensors", self.folder / state)
        return state

    def _tell(self) -> None:
        if self.progress is None:
            return
        records = self.study.records.values()
        members = [self.study.records[number] for number in self.study.front()]
        states = [one.state for one in records]
        left = self._n_retests - len(self._retests or ()) - len(self._retests_running)
        self.progress(
            Progress(
                phase="search" if self._retests is None else "retest",
                counts={
                    state: states.count(state)
                    for state in ("complete", "paused", "running", "waiting", "failed")
                },
                n_trials=self.question.trials,
                best=max(
                    (
                        one.score
                        for one in records
                        if one.state == "complete" and one.score is not None
                    ),
                    default=None,
                ),
                front=[
                    (one.number, one.score or 0.0, one.n_params, one.spec.adapter.method)
                    for one in members
                ],
                curves=[[one.curve[step] for step in sorted(one.curve)] for one in members],
                worker_seconds=sum(one.seconds for one in records),
                seconds=self._seconds,
                seconds_left=None
                if self.time_limit is None
                else max(0.0, self.time_limit - self._seconds),
                n_retests=(left, self._n_retests),
            )
        )
