"""One piece of work after another, in this process."""

import math
import tempfile
import time
from collections.abc import Callable, Generator
from contextlib import contextmanager
from functools import partial
from pathlib import Path

from tenslora_search.engine.source import Source, Work, n_threads, one_line
from tenslora_search.runs.segment import Probe, Segment
from tenslora_search.runs.states import SCRATCH
from tenslora_search.spec.table import QuestionError
from tenslora_search.training.trainers import trainer


def one_by_one(folder: Path, source: Source) -> None:
    """Serves the source until it is done, interrupted or has nothing to hand out."""
    import torch

    source.served_by(1, on_gpu=torch.cuda.is_available())
    with _threads():
        while not source.done and not source.interrupted:
            work = source.next_work()
            if work is None:
                return
            with tempfile.TemporaryDirectory(dir=folder, prefix=SCRATCH) as scratch:
                _done(work, Path(scratch), source)()


def _done(work: Work, scratch: Path, source: Source) -> Callable[[], None]:
    """Does the work; what is to be said of it to the source, whose own errors end the search."""
    began = time.perf_counter()
    try:
        train = trainer(work.setting)
        if isinstance(work, Probe):
            return partial(source.answered, work, train.probe(work))
        results = train.run(work, scratch, _is_over(source, work))
    except QuestionError:
        raise
    except Exception as error:  # whatever a trial's mathematics do, the search goes on
        return partial(source.failed, work, one_line(error))
    return partial(source.finished, work, results, scratch, time.perf_counter() - began)


def _is_over(source: Source, segment: Segment) -> Callable[..., bool]:
    """Whether a segment that begins now is to be cut short; passes on the step that it is told."""
    left = source.seconds_left
    end = time.monotonic() + left if math.isfinite(left) else math.inf

    def is_over(step: int | None = None) -> bool:
        if step is not None:
            source.stands_at(segment, step)
        return source.interrupted or time.monotonic() > end

    return is_over


@contextmanager
def _threads() -> Generator[None]:
    """As many threads as a worker of Ray's has; then as many as before."""
    import torch

    before = torch.get_num_threads()
    torch.set_num_threads(n_threads())
    try:
        yield
    finally:
        torch.set_num_threads(before)
