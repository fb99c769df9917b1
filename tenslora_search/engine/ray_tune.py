"""The home of Ray: segments as Ray Tune trials, one each, on workers that keep their backbone
between them.
"""

import json
import math
import os
import tempfile
import time
from collections.abc import Callable, Generator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from tenslora_search.engine.ray_internals import tune_adapted  # isort: skip

import ray
from ray import tune
from ray.tune.search import Searcher

from tenslora_search.engine.ray_cluster import KEPT, Cluster
from tenslora_search.engine.ray_start import workers
from tenslora_search.engine.shipping import receive, shipped
from tenslora_search.engine.source import Place, Source, Work, n_threads, one_line
from tenslora_search.runs.folder import disk_error
from tenslora_search.runs.segment import Probe, Segment, TrialResult
from tenslora_search.spec.table import QuestionError
from tenslora_search.training.trainers import trainer


def serve(place: Place, cluster: Cluster, source: Source) -> None:
    """Serves the source until it is done or interrupted; Tune's own records lie in `ray/segments`
    of the run folder.
    """
    share, n_workers = workers(place)
    os.environ["TUNE_MAX_PENDING_TRIALS_PG"] = str(n_workers)  # all workers start at the same time
    source.served_by(n_workers, on_gpu=share > 0)
    outcomes = Outcomes(_lost(place))
    segments = Segments(source, outcomes, n_workers, place.folder, cluster)
    tuner = tune.Tuner(
        tune.with_resources(
            tune.with_parameters(train_segment, entries=shipped()), {"cpu": 1, "gpu": share}
        ),
        tune_config=tune.TuneConfig(
            search_alg=segments,
            num_samples=-1,
            reuse_actors=True,
            trial_name_creator=_name,
            trial_dirname_creator=_name,
        ),
        run_config=tune.RunConfig(
            name="segments",
            storage_path=str(place.folder.resolve() / "ray"),
            failure_config=tune.FailureConfig(max_failures=2),
            checkpoint_config=tune.CheckpointConfig(num_to_keep=1),
            callbacks=[outcomes, *place.tune_callbacks],
            stop=Ended(segments),
            verbose=0,
        ),
    )
    try:
        with tune_adapted():
            tuner.fit()
    except Exception as error:
        raise segments.error or _of_tune(error, place.folder) from error
    if segments.error is not None:
        raise segments.error


def _lost(place: Place) -> str:
    """Why a worker is lost of which nothing is known; those that send a token to a cluster without
    tokens end so.
    """
    hint = "; if the cluster asks for no token, unset RAY_AUTH_MODE"
    sends_token = place.ray_address is not None and "RAY_AUTH_MODE" in os.environ
    return f"its worker was lost again and again{hint if sends_token else ''}"


def _of_tune(error: Exception, folder: Path) -> Exception:
    """What Tune's own error means to the user: a disk that is full cuts its records off."""
    if isinstance(error, EOFError) or disk_error(str(error)):
        return QuestionError(
            f"cannot write in {folder}: {disk_error(str(error)) or 'a file ends early'}. What was "
            "done so far is kept."
        )
    return error


def train_segment(config: dict[str, Any], entries: bytes = b"") -> None:
    """The trainable: a segment in, one row a trial and a folder of their states out; or a probe in,
    its answer out. `entries`: those from outside the package (`shipping`).
    """
    import torch

    receive(entries)
    if not ray.get_gpu_ids():  # a worker without a share of a GPU still sees those of its machine
        os.environ["CUDA_VISIBLE_DEVICES"] = ""
    torch.set_num_threads(n_threads())  # a core a worker: Ray says so after torch was imported
    began = time.perf_counter()
    work = KINDS[config["kind"]].from_json(json.loads(config["work"]))
    train = trainer(work.setting)
    with tempfile.TemporaryDirectory() as folder:
        if isinstance(work, Probe):
            report = {"answer": list(train.probe(work)), "trials": 0, "score": math.nan}
        else:
            results = train.run(work, Path(folder), _is_over(config["seconds_left"], began))
            scores = [one.score for one in results if one.score is not None]
            report = {
                "results": [one.to_json() for one in results],
                "trials": len(results),
                "score": max(scores, default=math.nan),  # what loggers show
            }
        report["seconds"] = time.perf_counter() - began
        tune.report(report, checkpoint=tune.Checkpoint.from_directory(folder))


SECONDS_BETWEEN_BEATS = 10.0
"""In which a worker says what step it stands at; Tune's loggers write a row of it."""


def _is_over(left: float | None, began: float) -> Callable[..., bool]:
    """Whether a segment is to be cut short; tells the driver its step now and then."""
    end, last = math.inf if left is None else began + left, began

    def is_over(step: int | None = None) -> bool:
        nonlocal last
        now = time.perf_counter()
        if step is not None and now - last >= SECONDS_BETWEEN_BEATS:
            last = now
            tune.report({"step": step, "trials": 0, "score": math.nan, "seconds": now - began})
        return now > end

    return is_over


KINDS: Mapping[str, type[Segment] | type[Probe]] = {"segment": Segment, "probe": Probe}


def _name(trial: Any) -> str:
    return f"{trial.config['id']}-{trial.trial_id}"


class Outcomes(tune.Callback):
    """What a Searcher is not told: where the states lie, and why a segment failed; `lost` where its
    worker left nothing.
    """

    def __init__(self, lost: str = "its worker was lost") -> None:
        self.lost = lost
        self.checkpoints: dict[str, Any] = {}
        self.trials: dict[str, Any] = {}

    def on_trial_start(self, iteration: int, trials: list, trial: Any, **info: Any) -> None:
        self.trials[trial.trial_id] = trial

    def on_checkpoint(
        self, iteration: int, trials: list, trial: Any, checkpoint: Any, **info: Any
    ) -> None:
        self.checkpoints[trial.trial_id] = checkpoint

    def reason(self, trial_id: str) -> str:
        """Why a segment failed.

        A Searcher hears of it before `on_trial_error` and before Tune copies the error to the
        storage path, where `get_error` looks for it; so it is read where Tune wrote it.
        """
        path = getattr(self.trials.get(trial_id), "error_file", None)
        if path is None or not Path(path).is_file():
            return self.lost
        return one_line(Path(path).read_text(encoding="utf-8", errors="replace"))


class Segments(Searcher):
    """Hands out a segment a worker, when that is free; hears of each once, after Tune's own
    retries.

    An error of the source would be lost in Tune, which would wait for ever: it is kept as `error`,
    and ends the search. Tune's saved copy of it holds nothing: what a search resumes from is the
    run folder's own journal.
    """

    def __init__(
        self, source: Source, outcomes: Outcomes, n_workers: int, folder: Path, cluster: Cluster
    ) -> None:
        super().__init__(metric="trials", mode="max")
        self.source, self.outcomes, self.cluster = source, outcomes, cluster
        self.n_workers, self.folder = n_workers, folder
        self.running: dict[str, Work] = {}
        self.error: Exception | None = None

    @property
    def ended(self) -> bool:
        """Whether what still runs is to be dropped."""
        if self.error is None and not self.source.interrupted and (gone := self.cluster.gone()):
            self.error = QuestionError(f"{gone}. {KEPT}")
        return self.error is not None or self.source.interrupted

    def set_search_properties(
        self, metric: str | None, mode: str | None, config: dict, **spec: Any
    ) -> bool:
        return True

    def suggest(self, trial_id: str) -> dict | str | None:
        if len(self.running) >= self.n_workers and not self.ended:
            return None
        work = None
        with self._errors_kept():
            if not self.ended:
                work = self.source.next_work()
        if work is None:
            return Searcher.FINISHED if self.ended or self.source.done else None
        self.running[trial_id] = work
        left = self.source.seconds_left
        return {
            "id": work.id,
            "kind": "probe" if isinstance(work, Probe) else "segment",
            "work": json.dumps(work.to_json()),
            "seconds_left": left if math.isfinite(left) else None,  # loggers know no infinity
        }

    def on_trial_result(self, trial_id: str, result: dict) -> None:
        work, step = self.running.get(trial_id), result.get("step")
        if isinstance(work, Segment) and step is not None and not self.ended:
            with self._errors_kept():
                self.source.stands_at(work, step)

    def on_trial_complete(
        self, trial_id: str, result: dict | None = None, error: bool = False
    ) -> None:
        work = self.running.pop(trial_id, None)
        checkpoint = self.outcomes.checkpoints.pop(trial_id, None)
        if work is None or self.ended:
            return
        with self._errors_kept():
            if error or not result or checkpoint is None:
                self._failed(work, self.outcomes.reason(trial_id))
            elif isinstance(work, Probe):
                self.source.answered(work, tuple(map(float, result["answer"])))
            else:
                results = [TrialResult.from_json(row) for row in result["results"]]
                with checkpoint.as_directory() as folder:
                    self.source.finished(work, results, Path(folder), result["seconds"])

    def _failed(self, work: Work, reason: str) -> None:
        """`QuestionError` where the disk was at fault: no trial fails for that."""
        if wrong := disk_error(reason):
            raise QuestionError(
                f"cannot write in {self.folder}: {wrong}. What was done so far is kept."
            )
        self.source.failed(work, reason)

    @contextmanager
    def _errors_kept(self) -> Generator[None]:
        try:
            yield
        except Exception as error:
            self.error = error

    def save(self, checkpoint_path: str) -> None: ...

    def restore(self, checkpoint_path: str) -> None: ...

    def __deepcopy__(self, memo: dict) -> "Segments":
        return self

    def __reduce__(self) -> tuple:
        return Searcher, ()


class Ended(tune.Stopper):
    """Ends what still runs when it is to be dropped."""

    def __init__(self, segments: Segments | None) -> None:
        self.segments = segments

    def __call__(self, trial_id: str, result: dict) -> bool:
        return False

    def stop_all(self) -> bool:
        return self.segments is not None and self.segments.ended

    def __deepcopy__(self, memo: dict) -> "Ended":
        return self

    def __reduce__(self) -> tuple:
        return Ended, (None,)
