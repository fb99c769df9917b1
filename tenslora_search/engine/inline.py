"""One segment after another, in this process."""

import tempfile
import time
from pathlib import Path

from tenslora_search.engine.source import Source, one_line
from tenslora_search.spec.table import QuestionError


def one_by_one(folder: Path, source: Source) -> None:
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
            except (
                Exception
            ) as error:  # whatever goes wrong in a trial's mathematics, the search goes on
                source.failed(segment, one_line(error))
                continue
            source.finished(segment, results, Path(scratch), time.perf_counter() - began)
