"""One piece of work after another, in this process."""

import math
import tempfile
import time
from collections.abc import Callable, Generator
from contextlib import contextmanager
from pathlib import Path

from tenslora_search.engine.source import Source, Work, n_threads, one_line
from tenslora_search.runs.segment import Probe
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
            try:
                _do(work, folder, source)
            except QuestionError:
                raise
            except Exception as error:  # whatever a trial's mathematics do, the search goes on
                source.failed(work, one_line(error))


def _do(work: Work, folder: Path, source: Source) -> None:
    train = trainer(work.setting)
    if isinstance(work, Probe):
        source.answered(work, train.probe(work))
        return
    with tempfile.TemporaryDirectory(dir=folder, prefix=SCRATCH) as scratch:
        began = time.perf_counter()
        results = train.run(work, Path(scratch), _is_over(source))
        source.finished(work, results, Path(scratch), time.perf_counter() - began)


def _is_over(source: Source) -> Callable[[], bool]:
    """Whether a segment that begins now is to be cut short."""
    left = source.seconds_left
    end = time.monotonic() + left if math.isfinite(left) else math.inf
    return lambda: source.interrupted or time.monotonic() > end


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
