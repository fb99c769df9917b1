"""What of Ray is patched, and why: read against Ray 2.60.0, whose private classes these are."""

import os
import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any
from unittest.mock import patch

os.environ.update(
    {
        "RAY_USAGE_STATS_ENABLED": "0",
        "RAY_AIR_NEW_OUTPUT": "0",
        "RAY_ACCEL_ENV_VAR_OVERRIDE_ON_ZERO": "0",
        "TUNE_DISABLE_SIGINT_HANDLER": "1",
        "TUNE_WARN_EXCESSIVE_EXPERIMENT_CHECKPOINT_SYNC_THRESHOLD_S": "0",
    }
)  # before Ray is imported: it is quiet then, and leaves Ctrl-C to us

from ray.tune import tune as tune_loop
from ray.tune.execution import class_cache
from ray.tune.execution.tune_controller import TuneController
from ray.tune.utils.object_cache import _ObjectCache

WAITING_WORKERS = {
    "preload_python_modules": ["tenslora_search.training.segment"],
    "idle_worker_killing_time_threshold_ms": 600_000,
}
"""Ray starts a worker a core at once: it imports this, and is not ended for having nothing to do
before its first trial.
"""


class KeptWorkers(_ObjectCache):
    """Tune ends workers that find nothing to do at once, all but one; here they wait, their
    backbone loaded.
    """

    def cache_object(self, key: Any, obj: Any) -> bool:
        self._cached_objects[key].append(obj)
        self._num_cached_objects += 1
        return True

    def flush_cached_objects(self, force_all: bool = False) -> Iterator[Any]:
        return super().flush_cached_objects(force_all=True) if force_all else iter(())


class Controller(TuneController):
    """Tune's loop, in which all workers start, and stay.

    Tune gives a segment whose worker is about to start to another that is free, and takes the start
    back: one worker does all the work where a start takes longer than a segment. Here a segment
    waits for its worker, if not for long.
    """

    def __init__(self, *arguments: Any, **options: Any) -> None:
        super().__init__(*arguments, **options)
        self._actor_cache = KeptWorkers()
        self._waits: dict[str, float] = {}

    def _maybe_reuse_cached_actor(self, trial: Any) -> bool:
        now = time.monotonic()
        if (
            trial in self._trial_to_actor
            and now - self._waits.setdefault(trial.trial_id, now) < PATIENCE
        ):
            return False
        return super()._maybe_reuse_cached_actor(trial)


PATIENCE = 20.0
"""Seconds; on a cluster where others hold the GPUs a worker may not start at all."""


@contextmanager
def tune_adapted() -> Iterator[None]:
    """Within it Tune has our controller, and its trials take workers that wait: with a variable of
    its own, for PyTorch Lightning, each would start a new one.
    """
    with (
        patch.dict(class_cache.DEFAULT_ENV_VARS, clear=True),
        patch.object(tune_loop, "TuneController", Controller),
    ):
        yield
