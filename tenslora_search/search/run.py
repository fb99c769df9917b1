"""search(): from a question to a front. The one place where all parts meet."""

import contextlib
import errno
import fcntl
import math
import os
import platform
import shutil
import signal
import sys
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

from tenslora_search.search.engine import EXECUTORS, Place
from tenslora_search.search.importance import importances
from tenslora_search.search.journal import Event
from tenslora_search.search.pruners import PRUNERS
from tenslora_search.search.question import Question, read_run_file, write_run_file
from tenslora_search.search.results import Run
from tenslora_search.search.samplers import SAMPLERS
from tenslora_search.search.space import SearchSpace
from tenslora_search.search.study import Study, Work
from tenslora_search.spec.budget import parse_count
from tenslora_search.spec.geometry import Geometry
from tenslora_search.spec.table import NothingFitsError, QuestionError
from tenslora_search.spec.trial import Segment, TrialResult

NOISE = 0.005
"""Trials of the front's neighbourhood this close to it, in score, are retested too."""
CPU_PACK = 8
"""Trials side by side on a CPU core, where more bring nothing (reports/bench_packs.md)."""
UNMEASURED_PACK = 16
"""On a GPU on which it could not be measured."""
SAMPLER_ROUNDS, LEAST_PACK = 4, 8
"""New trials come in this many packs at least, as long as a pack keeps so many."""
RETEST_SHARE = 0.25
"""Of the time limit that is kept for the retest."""


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


def search(
    task: str | None = None,
    *,
    budget: str | int,
    data: str | Path | None = None,
    model: str | None = None,
    space: str | Path | None = None,
    trials: int | None = None,
    time_limit: float | None = None,
    sampler: str | None = None,
    pruner: str | None = None,
    objective: str | None = None,
    pack: int | None = None,
    executor: str = "ray",
    ray_address: str | None = None,
    gpus_per_worker: float | None = None,
    retest: int | None = None,
    seed: int | None = None,
    out: str | Path | None = None,
    force: bool = False,
    progress: Callable[[Progress], None] | None = None,
    callbacks: Sequence[Any] = (),
    **options: Any,
) -> Run:
    """Searches for the best adapters within a budget of trainable parameters; returns the run, its report written.

    `time_limit` in seconds, a quarter of which is kept for the retest; `pack` trials train side by side (None: as many as
    the GPU makes use of, which is measured; 8 on a CPU); `out` is the run folder, in which the same question goes on where
    it stopped. `callbacks`: callables are called with each event of a trial once it is written down (a line of trials.jsonl:
    proposed, rung, promoted, paused, complete, failed, retest); what they raise ends the search. Those of Ray Tune hear of
    segments. More `options`: max_steps, batch_size, max_length, fit_rows, columns, count_head (see `Question`).
    `QuestionError` for a wrong question; `NothingFitsError` if no configuration is within the budget.
    """
    began = time.monotonic()
    asked = Question.of(
        budget=budget, task=task, data=data, model=model, space=str(space) if space is not None else None, trials=trials,
        sampler=sampler, pruner=pruner, objective=objective, retest=retest, seed=seed, **options,
    )  # fmt: skip
    runs_segments = EXECUTORS[executor]
    _ = SAMPLERS[asked.sampler], PRUNERS[asked.pruner]  # a wrong name must not stand in a run folder
    if pack is not None and pack < 1:
        raise QuestionError(f"--pack is auto or a whole number of 1 or more; got {pack}.")
    if gpus_per_worker is not None and not (0 <= gpus_per_worker <= 1 or gpus_per_worker % 1 == 0 < gpus_per_worker):
        raise QuestionError(f"--gpus-per-worker is 0, a share such as 0.25, or a whole number; got {gpus_per_worker:g}.")
    folder = Path(out) if out is not None else default_folder(asked)
    listeners = [one for one in callbacks if callable(one)]
    place = Place(folder, ray_address, gpus_per_worker, tuple(one for one in callbacks if not callable(one)))
    if executor == "inline" and place.tune_callbacks:
        raise QuestionError(
            f'{type(place.tune_callbacks[0]).__name__} is no function of an event; callbacks of Ray Tune need executor="ray".'
        )
    with run_folder(folder, asked, force=force), _disk_errors(folder):
        run_file = _prepared(folder, asked)
        source = _Search(
            folder, asked, run_file, began=began, time_limit=time_limit, pack=pack, progress=progress, listeners=listeners
        )
        with _ctrl_c(source):
            runs_segments(source, place)
        return source.close()


def default_folder(question: Question) -> Path:
    """runs/TASK-BUDGET, or runs/DATA-BUDGET for own data."""
    name = question.task or Path(str(question.data)).stem
    return Path("runs", f"{name}-{question.budget}")


@contextlib.contextmanager
def run_folder(folder: Path, question: Question, *, force: bool) -> Iterator[None]:
    """The folder, locked for this process: new, or of the same question, or (force) emptied.

    `QuestionError` if it cannot be written, another search runs in it, or it holds something else.
    """
    try:
        folder.mkdir(parents=True, exist_ok=True)
        lock = (folder / ".lock").open("w")
    except OSError as error:
        raise QuestionError(f"cannot write the run folder {folder}: {error.strerror}. Choose another --out.") from error
    with lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError as error:
            raise QuestionError(f"another search runs in {folder}; wait for it, or choose another --out.") from error
        others = [path for path in folder.iterdir() if path.name != ".lock"]
        foreign = sorted(path.name for path in others if path.name not in OURS and not path.name.startswith(".segment-"))
        if foreign and not (folder / "run.json").exists():
            raise QuestionError(f"{folder} is no run folder: it holds {', '.join(foreign[:3])}; choose another --out.")
        if force:
            for path in others:
                shutil.rmtree(path) if path.is_dir() else path.unlink()
        elif (folder / "run.json").exists():
            Question.from_json(read_run_file(folder)["question"]).check_same(question, folder)
        (folder / "states").mkdir(exist_ok=True)
        yield


@contextlib.contextmanager
def _disk_errors(folder: Path) -> Iterator[None]:
    """A full or read-only disk is one line, whichever library met it."""
    try:
        yield
    except OSError as error:
        if error.errno not in (errno.ENOSPC, errno.EDQUOT, errno.EFBIG, errno.EROFS, errno.EACCES, errno.EIO):
            raise
        raise QuestionError(f"cannot write in {folder}: {error.strerror}. What was done so far is kept.") from error


def _prepared(folder: Path, question: Question) -> dict[str, Any]:
    """Loads model and data once in this process, so that all that is wrong with them shows at once; writes run.json."""
    import torch

    from tenslora_search.nn.places import geometry_of
    from tenslora_search.training.data import load_task
    from tenslora_search.training.heads import StackedHeads
    from tenslora_search.training.models import load_backbone

    data = load_task(**question.task_options, model=question.model)
    model = load_backbone(question.model, n_labels=data.n_labels, regression=data.regression)
    geometry = geometry_of(model)
    head_params = StackedHeads(model, [torch.Generator()]).n_params
    budget = question.budget - (head_params if question.count_head else 0)
    if budget < 1:
        raise NothingFitsError(
            f"the task head alone has {head_params:,} parameters, the budget with --count-head is {question.budget:,}."
        )
    SearchSpace.load(question.space, geometry, budget)  # a wrong space, or one in which nothing fits, is not written down
    run = {
        "question": question.to_json(),
        "command": " ".join(["tenslora-search", *sys.argv[1:]]) if "tenslora-search" in sys.argv[0] else None,
        "versions": versions(),
        "data_digest": data.digest,
        "head_params": head_params,
        "budget": budget,
        "task": data.name,
        "model": question.model,
        "metric": data.metric,
        "labels": list(data.labels),
        "regression": data.regression,
        "rows": {"fit": len(data.fit), "select": len(data.select), "report": len(data.report)},
        "geometry": geometry.to_json(),
        "rungs": list(question.rungs),
        "hardware": _hardware(),
    }
    if (folder / "run.json").exists():
        before = read_run_file(folder)
        if before["data_digest"] != data.digest:
            raise QuestionError(f"the data of {folder} has changed since it was begun; choose another --out, or --force.")
        run = {**before, "question": question.to_json()}
    write_run_file(folder, run)
    return run


class _Search:
    """The source of a search: the study's segments, then the retest's; writes down what comes back."""

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
        self.space = SearchSpace.load(question.space, Geometry.from_json(run_file["geometry"]), run_file["budget"])
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
        self._pack, self._n_workers = pack, 1
        self._is_measuring, self._seconds_a_step = False, 0.0
        self.interrupted = self.was_interrupted = False
        self.retested = {(event["number"], event["seed"]) for event in self.study.journal.read() if event["event"] == "retest"}
        self._running: dict[str, Work] = {}
        self._retests: list[Segment] | None = None
        self._retests_running: set[str] = set()
        self._n_retests = 0

    @property
    def done(self) -> bool:
        return self.study.done and self._retests is not None and not self._retests and not self._retests_running

    def stop(self) -> None:
        """First call: no more search, only what is needed for the report; second: not even that."""
        self.interrupted = self.was_interrupted
        self.was_interrupted = True
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
            return self._segment(work.id, zip(work.numbers, work.specs, strict=True), work.states, work.from_step, work.to_step)
        if not self.study.done:
            return None
        if self._retests is None:
            self._retests = self._plan_retests()
            self._n_retests = len(self._retests)
        if not self._retests or self._is_late:
            self._retests = []
            return None
        segment = self._retests.pop(0)
        self._retests_running.add(segment.id)
        return segment

    def finished(self, segment: Segment, results: Sequence[TrialResult], folder: Path, seconds: float) -> None:
        if segment.measures:
            self._pack = int(results[0].score or 1)
        elif segment.id in self._retests_running:
            self._retests_running.discard(segment.id)
            self._record_retest(segment, results, folder)
        elif (work := self._running.pop(segment.id, None)) is not None:
            states = {}
            for result in results:
                if result.reason is None:
                    states[result.number] = f"states/{result.number}-{result.step}.safetensors"
                    _move(folder / f"{result.number}.safetensors", self.folder / states[result.number])
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
            self._retests_running.discard(segment.id)
        elif (work := self._running.pop(segment.id, None)) is not None:
            self.study.fail(work, reason)
        self._tell()

    def close(self) -> Run:
        """The end of a search, whole or interrupted: adapters and report."""
        self.study.close()
        run = Run(self.folder)
        checked, over = run.proof
        if not self.interrupted:
            for number in self.study.front():
                run.export(number, self.folder / "adapters" / str(number))
        seconds = run.file.get("wall_seconds", 0.0) + self._seconds
        proof, choices = {"checked": checked, "over": over}, importances(self.study.journal.read(), self.space.searched)
        write_run_file(self.folder, {**run.file, "proof": proof, "wall_seconds": seconds, **choices})
        run = Run(self.folder)
        run.report()
        if self.was_interrupted:
            raise Interrupted(run)
        return run

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
        """Whether a trial begun now could reach the top in time; else those on their way go first, so that some do."""
        return self._seconds + self._seconds_a_step * self.question.max_steps < self._seconds_of_search

    @property
    def _is_late(self) -> bool:
        return self.interrupted or (self.time_limit is not None and self._seconds > self.time_limit)

    def _plan_retests(self) -> list[Segment]:
        """The front, its neighbours and LoRA's best from fresh seeds, one segment a seed: all see the same rows in order."""
        records = self.study.records
        members = self.study.front(NOISE)
        lora = [one for one in records.values() if one.spec.adapter.method == "LoRA" and one.state == "complete"]
        if lora and not any(records[number] in lora for number in members):
            members.append(max(lora, key=lambda one: one.score or 0.0).number)
        segments = []
        for seed in range(1, self.question.retest + 1):
            left = [number for number in members if (number, seed) not in self.retested]
            if left:
                specs = [replace(records[number].spec, seed=records[number].spec.seed + seed * RETEST_SEEDS) for number in left]
                trials = zip(left, specs, strict=True)
                segment = self._segment(f"retest-{seed}", trials, [None] * len(left), 0, self.question.max_steps)
                segments.append(replace(segment, split="report", data_seed=self.question.seed + seed))
        return segments

    def _limit(self, pack: int) -> int:
        """Trials a segment: no worker goes without, and the sampler sees scores before it proposes the last of them."""
        trials = self.question.trials
        return min(pack, max(LEAST_PACK, math.ceil(trials / SAMPLER_ROUNDS)), math.ceil(trials / self._n_workers))

    def _measurement(self) -> Segment | None:
        """Asks a worker, once, how many trials like the first ones it takes at a time."""
        if self._is_measuring:
            return None
        self._is_measuring = True
        trials = [(number, self.space.trial(point, number)) for number, point in enumerate(self.space.seeds())]
        return replace(self._segment("measure", trials, [], 0, self.question.max_steps), measures=True)

    def _segment(self, name: str, trials: Any, states: Sequence[str | None], from_step: int, to_step: int) -> Segment:
        return Segment(
            id=name,
            trials=tuple(trials),
            states=tuple(str((self.folder / state).resolve()) if state else None for state in states),
            from_step=from_step,
            to_step=to_step,
            max_steps=self.question.max_steps,
            batch_size=self.question.batch_size,
            model=self.question.model,
            task=self.question.task_options,
            data_seed=self.question.seed,
        )

    def _record_retest(self, segment: Segment, results: Sequence[TrialResult], folder: Path) -> None:
        seed = int(segment.id.rpartition("-")[2])
        events = []
        for result in results:
            if result.reason is None:
                state = f"states/retest-{result.number}-{seed}.safetensors"
                _move(folder / f"{result.number}.safetensors", self.folder / state)
                score = {"report_score": result.score, "seconds": result.seconds, "state": state}
                events.append({"event": "retest", "number": result.number, "seed": seed, **score})
        self.study.journal.append(*events)

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
                counts={state: states.count(state) for state in ("complete", "paused", "running", "waiting", "failed")},
                n_trials=self.question.trials,
                best=max((one.score for one in records if one.state == "complete" and one.score is not None), default=None),
                front=[(one.number, one.score or 0.0, one.n_params, one.spec.adapter.method) for one in members],
                curves=[[one.curve[step] for step in sorted(one.curve)] for one in members],
                worker_seconds=sum(one.seconds for one in records),
                seconds=self._seconds,
                seconds_left=None if self.time_limit is None else max(0.0, self.time_limit - self._seconds),
                n_retests=(left, self._n_retests),
            )
        )


OURS = {
    "run.json", "run.json.part", "trials.jsonl", "study.journal", "states", "ray", "adapters", "report.html", "front.csv",
    "front.png", "front.svg", "report.md", "trials.csv",
}  # fmt: skip
"""What a run folder holds."""
RETEST_SEEDS = 1_000_000
"""Retest seeds are this far from the seeds of the search."""
VERSIONS = ("tenslora-search", "torch", "transformers", "datasets", "optuna", "ray", "numpy")


def versions() -> dict[str, str]:
    """Of the libraries that decide a result."""
    return {name: _version(name) for name in VERSIONS}


@contextlib.contextmanager
def _ctrl_c(source: _Search) -> Iterator[None]:
    """The first Ctrl-C ends the search and lets the retest and the report follow; the second goes straight to the report."""

    def stop(*_: object) -> None:
        source.stop()

    try:
        before = signal.signal(signal.SIGINT, stop)
    except ValueError:  # not the main thread: whoever is will hear it
        yield
        return
    try:
        yield
    finally:
        signal.signal(signal.SIGINT, before)


def _move(source: Path, target: Path) -> None:
    """By renaming, which is whole or not at all; across file systems by a copy that is renamed."""
    try:
        source.replace(target)
    except OSError:
        try:
            part = target.with_suffix(".part")
            shutil.copyfile(source, part)
            part.replace(target)
        except OSError as error:
            raise QuestionError(f"cannot write {target}: {error.strerror}. What was done so far is kept.") from error


def _hardware() -> dict[str, Any]:
    """Of the driver's machine: processor, cores, GPUs."""
    import torch

    cpuinfo = Path("/proc/cpuinfo")
    lines = cpuinfo.read_text(errors="replace").splitlines() if cpuinfo.is_file() else []
    names = [line.partition(":")[2].strip() for line in lines if line.startswith("model name")]
    gpus = [torch.cuda.get_device_name(k) for k in range(torch.cuda.device_count())]
    return {"cpu": names[0] if names else platform.machine(), "cores": os.cpu_count(), "gpus": gpus}


def _version(name: str) -> str:
    try:
        return version(name)
    except PackageNotFoundError:
        return "not installed"


def parse_seconds(text: str) -> float:
    """Seconds from 90, 90s, 15m, 2h, 1.5h or 1h30m; `QuestionError` otherwise."""
    import re

    match = re.fullmatch(r"(?:(\d+(?:\.\d+)?)h)?(?:(\d+(?:\.\d+)?)m)?(?:(\d+(?:\.\d+)?)s?)?", text.strip().lower())
    seconds = sum(float(part or 0) * unit for part, unit in zip(match.groups(), (3600, 60, 1), strict=True)) if match else 0.0
    if seconds <= 0:
        raise QuestionError(f"{text!r} is no time limit; write 90s, 15m, 2h or 1h30m.")
    return seconds


__all__ = ["Interrupted", "Progress", "parse_count", "parse_seconds", "search"]
