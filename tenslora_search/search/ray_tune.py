"""The home of Ray: segments as Ray Tune trials, one each, on workers that keep their backbone between them."""

import json
import logging
import math
import os
import socket
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

os.environ.update(
    {
        "RAY_USAGE_STATS_ENABLED": "0",
        "RAY_AIR_NEW_OUTPUT": "0",
        "RAY_ACCEL_ENV_VAR_OVERRIDE_ON_ZERO": "0",
        "TUNE_DISABLE_SIGINT_HANDLER": "1",
        "TUNE_WARN_EXCESSIVE_EXPERIMENT_CHECKPOINT_SYNC_THRESHOLD_S": "0",
    }
)  # before Ray is imported: it is quiet then, and leaves Ctrl-C to us

import ray
from ray import tune
from ray.tune.execution import class_cache
from ray.tune.search import Searcher

from tenslora_search.search.engine import Place, Source, one_line
from tenslora_search.spec.table import QuestionError
from tenslora_search.spec.trial import Segment, TrialResult

WAITING_WORKERS = {
    "preload_python_modules": ["tenslora_search.training.segment"],
    "idle_worker_killing_time_threshold_ms": 600_000,
}
"""Ray starts a worker a core at once: it imports this, and is not ended for having nothing to do before its first trial."""


def serve(place: Place, source: Source) -> None:
    """Serves the source until it is done or interrupted; Tune's own records lie in `ray/segments` of the run folder."""
    share, n_workers = workers(place)
    os.environ["TUNE_MAX_PENDING_TRIALS_PG"] = str(n_workers)  # no segment is decided on before a worker is free for it
    source.served_by(n_workers, on_gpu=share > 0)
    outcomes = Outcomes()
    tuner = tune.Tuner(
        tune.with_resources(train_segment, {"cpu": 1, "gpu": share}),
        tune_config=tune.TuneConfig(
            search_alg=Segments(source, outcomes),
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
            stop=Interrupted(source),
            verbose=0,
        ),
    )
    with waiting_workers_taken():
        tuner.fit()


def start(place: Place) -> None:
    """A cluster on this machine, whose workers wait with all imported, or the one at `ray_address`.

    `QuestionError` if none answers there, and for what is no callback.
    """
    for one in place.tune_callbacks:
        if not isinstance(one, tune.Callback):
            raise QuestionError(f"a callback is a function of an event or a ray.tune.Callback; got {type(one).__name__}.")
    if ray.is_initialized():
        return
    logging.getLogger("ray.tune").setLevel(logging.CRITICAL)  # failed segments are told of in trials.jsonl
    if place.ray_address is not None:
        _knock(place.ray_address)
    options: dict[str, Any] = {}
    if place.ray_address is None:
        options = {"include_dashboard": False, "num_cpus": _cores_needed(place), "_system_config": WAITING_WORKERS}
    try:
        ray.init(address=place.ray_address or "local", log_to_driver=False, logging_level=logging.ERROR, **options)
    except (ConnectionError, ValueError) as error:
        raise QuestionError(f"no Ray cluster at --ray-address {place.ray_address}: {one_line(error)}") from error


def _knock(address: str) -> None:
    """`QuestionError` if nobody listens at HOST:PORT: Ray itself would try for minutes, and say so in its own words."""
    host, colon, port = address.removeprefix("ray://").rpartition(":")
    if not colon or not port.isdigit():
        return  # "auto" and the like, which Ray looks up at once
    try:
        socket.create_connection((host, int(port)), timeout=5).close()
    except (OSError, OverflowError) as error:
        raise QuestionError(f"no Ray cluster at --ray-address {address}: {one_line(error)}.") from error


def _cores_needed(place: Place) -> int | None:
    """As many as there will be workers on GPUs: Ray keeps one waiting a core. Without GPUs all (None)."""
    import torch

    gpus = torch.cuda.device_count()
    share = _share(place, gpus)
    return max(1, min(os.cpu_count() or 1, int(gpus / share))) if share else None


def _share(place: Place, gpus: float) -> float:
    """GPUs a worker: as asked, else a whole one where there are any."""
    return place.gpus_per_worker if place.gpus_per_worker is not None else float(gpus > 0)


@contextmanager
def waiting_workers_taken() -> Iterator[None]:
    """Tune's trials run in workers that wait: with a variable of its own for PyTorch Lightning each would start a new one."""
    kept = dict(class_cache.DEFAULT_ENV_VARS)
    class_cache.DEFAULT_ENV_VARS.clear()
    try:
        yield
    finally:
        class_cache.DEFAULT_ENV_VARS.update(kept)


def workers(place: Place) -> tuple[float, int]:
    """GPUs a worker, and how many workers the cluster holds: one a core without GPUs."""
    found = ray.cluster_resources()
    gpus, cpus = found.get("GPU", 0.0), found.get("CPU", 1.0)
    share = _share(place, gpus)
    if share > gpus:
        raise QuestionError(f"--gpus-per-worker asks for {share:g} GPUs; Ray finds {gpus:g}.")
    return share, max(1, int(min(cpus, gpus / share) if share else cpus))


def train_segment(config: dict[str, Any]) -> None:
    """The trainable: a segment in, one row a trial and a folder of their states out."""
    import torch

    from tenslora_search.training.segment import run_segment

    torch.set_num_threads(int(os.environ.get("OMP_NUM_THREADS", "1")))  # a core a worker: Ray says so after torch was imported
    segment = Segment.from_json(json.loads(config["segment"]))
    began = time.perf_counter()
    with tempfile.TemporaryDirectory() as folder:
        results = run_segment(segment, Path(folder))
        scores = [] if segment.measures else [one.score for one in results if one.score is not None]
        score = max(scores, default=math.nan)  # what loggers show
        rows = [result.to_json() for result in results]
        metrics = {"results": rows, "seconds": time.perf_counter() - began, "trials": len(rows), "score": score}
        tune.report(metrics, checkpoint=tune.Checkpoint.from_directory(folder))


def _name(trial: Any) -> str:
    return f"{trial.config['id']}-{trial.trial_id}"


class Outcomes(tune.Callback):
    """What a Searcher is not told: where the states lie, and why a segment failed."""

    def __init__(self) -> None:
        self.checkpoints: dict[str, Any] = {}
        self.trials: dict[str, Any] = {}

    def on_trial_start(self, iteration: int, trials: list, trial: Any, **info: Any) -> None:
        self.trials[trial.trial_id] = trial

    def on_checkpoint(self, iteration: int, trials: list, trial: Any, checkpoint: Any, **info: Any) -> None:
        self.checkpoints[trial.trial_id] = checkpoint

    def reason(self, trial_id: str) -> str:
        """Why a segment failed.

        A Searcher hears of it before `on_trial_error` and before Tune copies the error to the storage path, where
        `get_error` looks for it; so it is read where Tune wrote it.
        """
        path = getattr(self.trials.get(trial_id), "error_file", None)
        if path is None or not Path(path).is_file():
            return "its worker was lost again and again"
        return one_line(Path(path).read_text(encoding="utf-8", errors="replace"))


class Segments(Searcher):
    """Hands out segments; hears of each once, after Tune's own retries.

    Tune's saved copy of it holds nothing: what a search resumes from is the run folder's own journal.
    """

    def __init__(self, source: Source, outcomes: Outcomes) -> None:
        super().__init__(metric="trials", mode="max")
        self.source, self.outcomes = source, outcomes
        self.running: dict[str, Segment] = {}

    def set_search_properties(self, metric: str | None, mode: str | None, config: dict, **spec: Any) -> bool:
        return True

    def suggest(self, trial_id: str) -> dict | str | None:
        segment = None if self.source.interrupted else self.source.next_segment()
        if segment is None:
            return Searcher.FINISHED if self.source.interrupted or self.source.done else None
        self.running[trial_id] = segment
        return {"id": segment.id, "segment": json.dumps(segment.to_json())}

    def on_trial_complete(self, trial_id: str, result: dict | None = None, error: bool = False) -> None:
        segment = self.running.pop(trial_id, None)
        checkpoint = self.outcomes.checkpoints.pop(trial_id, None)
        if segment is None or self.source.interrupted:
            return
        if error or not result or "results" not in result or checkpoint is None:
            self.source.failed(segment, self.outcomes.reason(trial_id))
            return
        results = [TrialResult.from_json(row) for row in result["results"]]
        with checkpoint.as_directory() as folder:
            self.source.finished(segment, results, Path(folder), result["seconds"])

    def save(self, checkpoint_path: str) -> None: ...

    def restore(self, checkpoint_path: str) -> None: ...

    def __deepcopy__(self, memo: dict) -> "Segments":
        return self

    def __reduce__(self) -> tuple:
        return Searcher, ()


class Interrupted(tune.Stopper):
    """Ends all running segments when the source says so."""

    def __init__(self, source: Source | None) -> None:
        self.source = source

    def __call__(self, trial_id: str, result: dict) -> bool:
        return False

    def stop_all(self) -> bool:
        return self.source is not None and self.source.interrupted

    def __deepcopy__(self, memo: dict) -> "Interrupted":
        return self

    def __reduce__(self) -> tuple:
        return Interrupted, (None,)
