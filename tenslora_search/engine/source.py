"""Source: what an executor serves; Place: where its segments run."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

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

    def finished(
        self, segment: Segment, results: Sequence[TrialResult], folder: Path, seconds: float
    ) -> None:
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


def one_line(error: object) -> str:
    """The last line of an error's text that says something: of Ray's long ones, the original error.

    One word says too little (a KeyError's is the key alone): the kind of error goes before it.
    """
    lines = [line.strip() for line in str(error).splitlines() if line.strip()]
    line = lines[-1] if lines else ""
    if isinstance(error, BaseException) and " " not in line:
        line = f"{type(error).__name__}: {line}".removesuffix(": ")
    return line[:300]
