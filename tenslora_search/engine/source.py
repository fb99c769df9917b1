"""Source: what an executor serves; Place: where its work is done."""

import os
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

from tenslora_search.runs.segment import Answer, Probe, Segment, TrialResult

Work = Segment | Probe


class Source(Protocol):
    """What an executor serves."""

    @property
    def done(self) -> bool:
        """Nothing is left to run, and nothing is running."""
        ...

    @property
    def interrupted(self) -> bool:
        """Running work is to be dropped."""
        ...

    @property
    def seconds_left(self) -> float:
        """Until a segment that is handed out now is to be cut short; infinite without a limit."""
        ...

    def served_by(self, n_workers: int, *, on_gpu: bool) -> None:
        """Said once, before the first segment."""
        ...

    def next_work(self) -> Work | None:
        """None: wait until something that runs is back, or nothing is left."""
        ...

    def finished(
        self, segment: Segment, results: Sequence[TrialResult], folder: Path, seconds: float
    ) -> None:
        """`folder` holds NUMBER.safetensors for each result without a reason."""
        ...

    def stands_at(self, segment: Segment, step: int) -> None:
        """Said now and then while a segment runs."""
        ...

    def answered(self, probe: Probe, answer: Answer) -> None:
        """What a worker found."""
        ...

    def failed(self, work: Work, reason: str) -> None:
        """The work could not be done, tries again included."""
        ...


@dataclass(frozen=True, slots=True)
class Place:
    """Where work is done."""

    folder: Path
    """the run folder; on a cluster, one that all nodes share"""
    ray_address: str | None = None
    """a running cluster ("auto", or its address); None starts one on this machine"""
    gpus_per_worker: float | None = None
    """None: 1 where there are GPUs, else 0"""
    tune_callbacks: Sequence[Any] = ()
    """Ray Tune's own (ray.tune.Callback): they hear of segments"""
    give_up: Callable[[str], object] | None = None
    """called from another thread with the reason, where the work cannot end any more"""


def one_line(error: object) -> str:
    """The last line of an error's text that says something: of Ray's long ones, the original error.

    One word says too little (a KeyError's is the key alone): the kind of error goes before it.
    """
    lines = [line.strip() for line in str(error).splitlines() if line.strip()]
    line = lines[-1] if lines else ""
    if isinstance(error, BaseException) and " " not in line:
        line = f"{type(error).__name__}: {line}".removesuffix(": ")
    return line[:300]


def n_threads() -> int:
    """Threads of a worker on a CPU: the first number of OMP_NUM_THREADS, else one.

    Packs of small adapters gain nothing from a second thread, and threads that wait for each other
    on a busy machine cost many times what they bring.
    """
    first = os.environ.get("OMP_NUM_THREADS", "").partition(",")[0].strip()
    return max(1, int(first)) if first.isdecimal() and len(first) < 5 else 1
