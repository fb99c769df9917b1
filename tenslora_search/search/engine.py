"""EXECUTORS: who runs segments. `inline` in this process; `ray` through Ray Tune, one Tune trial a segment.

An executor gets ready at a `Place`, and returns what serves a `Source`: takes segments from it and gives their rows and
states back. What a worker needs besides the segment it loads once: backbone and data stay in it between segments.
"""

import tempfile
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any, Protocol

from tenslora_search.spec.table import QuestionError, Table
from tenslora_search.spec.trial import Segment, TrialResult


class Source(Protocol):
    """What an executor serves."""

    @property
    def done(self) -> bool:
        """Nothing is left to run, and nothing is running."""
        ...

    @property
    def interrupted(self) -> bool:
        """Running segments are to be dropped."""
        ...

    def served_by(self, n_workers: int, *, on_gpu: bool) -> None:
        """Said once, before the first segment."""
        ...

    def next_segment(self) -> Segment | None:
        """None: wait until a running segment is back, or nothing is left."""
        ...

    def finished(self, segment: Segment, results: Sequence[TrialResult], folder: Path, seconds: float) -> None:
        """`folder` holds NUMBER.safetensors for each result without a reason."""
        ...

    def failed(self, segment: Segment, reason: str) -> None:
        """The segment could not be run, tries again included."""
        ...


@dataclass(frozen=True, slots=True)
class Place:
    """Where segments run."""

    folder: Path
    """the run folder; on a cluster, one that all nodes share"""
    ray_address: str | None = None
    """a running cluster ("auto", or its address); None starts one on this machine"""
    gpus_per_worker: float | None = None
    """None: 1 where there are GPUs, else 0"""
    tune_callbacks: Sequence[Any] = ()
    """Ray Tune's own (ray.tune.Callback): they hear of segments"""


def inline(place: Place) -> Callable[[Source], None]:
    """One segment after another in this process."""
    return partial(_one_by_one, place.folder)


def ray(place: Place) -> Callable[[Source], None]:
    """Ray Tune places segments on CPU workers (one core each) or on GPUs, whole or shared, and runs a killed one again.

    The workers import what they need while this process goes on.
    """
    from tenslora_search.search import ray_tune

    ray_tune.start(place)
    return partial(ray_tune.serve, place)


def _one_by_one(folder: Path, source: Source) -> None:
    import torch

    from tenslora_search.training.segment import run_segment

    source.served_by(1, on_gpu=torch.cuda.is_available())
    while not source.done and not source.interrupted:
        segment = source.next_segment()
        if segment is None:
            return
        with tempfile.TemporaryDirectory(dir=folder, prefix=".segment-") as scratch:
            began = time.perf_counter()
            try:
                results = run_segment(segment, Path(scratch))
            except QuestionError:
                raise
            except Exception as error:  # whatever goes wrong in a trial's mathematics, the search goes on
                source.failed(segment, one_line(error))
                continue
            source.finished(segment, results, Path(scratch), time.perf_counter() - began)


def one_line(error: object) -> str:
    """The last line of an error's text that says something: of Ray's long ones, the original error.

    One word says too little (a KeyError's is the key alone): the kind of error goes before it.
    """
    lines = [line.strip() for line in str(error).splitlines() if line.strip()]
    line = lines[-1] if lines else ""
    if isinstance(error, BaseException) and " " not in line:
        line = f"{type(error).__name__}: {line}".removesuffix(": ")
    return line[:300]


EXECUTORS: Table[Callable[[Place], Callable[[Source], None]]] = Table(
    "executor", {entry.__name__: entry for entry in (ray, inline)}
)
