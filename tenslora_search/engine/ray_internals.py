"""What of Ray is patched, and why: private classes, read in the versions of READ_AGAINST.

Where another version has them elsewhere or otherwise, `moved` names what moved, and the search goes
on with Tune as it is: slower to start, the same results.
"""

import logging
import os
import time
from collections.abc import Generator, Iterator
from contextlib import ExitStack, contextmanager
from importlib import import_module
from inspect import isclass
from secrets import token_hex
from subprocess import Popen
from typing import Any
from unittest.mock import patch

READ_AGAINST = ("2.60.0",)

os.environ.update(
    {
        "RAY_USAGE_STATS_ENABLED": "0",
        "RAY_AIR_NEW_OUTPUT": "0",
        "RAY_ACCEL_ENV_VAR_OVERRIDE_ON_ZERO": "0",
        "TUNE_DISABLE_SIGINT_HANDLER": "1",
        "TUNE_WARN_EXCESSIVE_EXPERIMENT_CHECKPOINT_SYNC_THRESHOLD_S": "0",
    }
)  # before Ray is imported: it is quiet then, and leaves Ctrl-C to us

PRIVATE = (
    "ray.tune.tune:TuneController",
    "ray.tune.execution.class_cache:DEFAULT_ENV_VARS",
    "ray.tune.execution.tune_controller:TuneController._maybe_reuse_cached_actor",
    "ray.tune.utils.object_cache:_ObjectCache.cache_object",
    "ray.tune.utils.object_cache:_ObjectCache.flush_cached_objects",
)
POPEN = "ray._private.services:ConsolePopen"
OPEN_TO_OTHERS = "ray._private.ray_constants:ENABLE_RAY_CLUSTER"
UNUSED = ("start_monitor", "start_log_monitor", "start_api_server")
NODE = tuple(f"ray._private.node:Node.{name}" for name in UNUSED)
TOKENS = ("ray._raylet:AuthenticationTokenLoader", "ray._raylet:Config")
"""Module and name of what is used here though it is private."""
AUTH = ("RAY_AUTH_MODE", "RAY_AUTH_TOKEN", "RAY_AUTH_TOKEN_PATH")

WAITING_WORKERS = {
    "preload_python_modules": ["tenslora_search.engine.ray_worker"],
    "idle_worker_killing_time_threshold_ms": 600_000,
}
"""Ray starts a worker a core at once: it imports this, and is not ended for having nothing to do
before its first trial.
"""
PATIENCE = 20.0
"""Seconds; on a cluster where others hold the GPUs a worker may not start at all."""

LOGGER = logging.getLogger("tenslora_search")


def moved() -> list[str]:
    """What of PRIVATE is not where it was."""
    return [path for path in PRIVATE if _found(path) is None]


@contextmanager
def on_loopback() -> Generator[None]:
    """Within it Ray takes this machine's address to be 127.0.0.1, as it does on macOS and Windows,
    and listens there alone: nobody else is to send work to a search's own cluster.
    """
    if _found(OPEN_TO_OTHERS) is None:
        LOGGER.warning("this version of Ray also listens to other machines")
        yield
        return
    from ray._private import ray_constants

    with patch.object(ray_constants, "ENABLE_RAY_CLUSTER", False):
        yield


@contextmanager
def needed_alone() -> Generator[None]:
    """Within it Ray starts no process that a search on one machine has no use for: those that scale
    a cluster, send workers' output to the driver, and serve a dashboard. Each takes a second or
    more of the processor to start, and `ray.init` waits for the last. In a version of Ray that has
    them elsewhere all are started.
    """
    if any(_found(path) is None for path in NODE):
        yield
        return
    from ray._private.node import Node

    with ExitStack() as patches:
        for name in UNUSED:
            patches.enter_context(patch.object(Node, name, _not_started))
        yield


def _not_started(node: Any, **options: Any) -> None: ...


@contextmanager
def own_sessions() -> Generator[list[Popen[bytes]]]:
    """Within it each process that Ray starts here leads a session of its own, and is listed.

    A signal to the whole group of this process, as Slurm and terminals send it, ends the search
    then, and not Ray under it; and what of a session is left can be found in the end. Where Ray
    starts processes otherwise, none is listed.
    """
    started: list[Popen[bytes]] = []
    if _found(POPEN) is None:
        yield started
        return
    from ray._private import services

    class Leader(services.ConsolePopen):
        def __init__(self, *arguments: Any, **options: Any) -> None:
            super().__init__(*arguments, **{**options, "start_new_session": True})
            started.append(self)

    with patch.object(services, "ConsolePopen", Leader):
        yield started


@contextmanager
def own_token() -> Generator[None]:
    """Within it a cluster that is started here asks for a token that no file holds, unless the
    environment says otherwise.

    Ray itself would write one to the home folder, which may not be writable, and for which clusters
    that are started later would ask.
    """
    if any(name in os.environ for name in AUTH):
        yield
        return
    os.environ["RAY_AUTH_TOKEN"] = token_hex(32)
    _forget_token()
    try:
        yield
    finally:
        for name in AUTH:
            os.environ.pop(name, None)
        _forget_token()


def _forget_token() -> None:
    """What Ray has read of the environment is read again, for clusters of the user's own."""
    loader, config = map(_found, TOKENS)
    if loader is not None and config is not None:
        loader.instance().reset_cache()
        config.initialize("")


def kept_workers() -> Any:
    """A cache of workers. Tune ends those that find nothing to do at once, all but one; here they
    wait, their backbone loaded.
    """
    from ray.tune.utils.object_cache import _ObjectCache

    class KeptWorkers(_ObjectCache):
        def cache_object(self, key: Any, obj: Any) -> bool:
            self._cached_objects[key].append(obj)
            self._num_cached_objects += 1
            return True

        def flush_cached_objects(self, force_all: bool = False) -> Iterator[Any]:
            return super().flush_cached_objects(force_all=True) if force_all else iter(())

    return KeptWorkers()


def controller() -> type:
    """Tune's loop, in which all workers start, and stay.

    Tune gives a segment whose worker is about to start to another that is free, and takes the start
    back: one worker does all the work where a start takes longer than a segment. Here a segment
    waits for its worker, if not for long.
    """
    from ray.tune.execution.tune_controller import TuneController

    class Controller(TuneController):
        def __init__(self, *arguments: Any, **options: Any) -> None:
            super().__init__(*arguments, **options)
            self._actor_cache = kept_workers()
            self._waits: dict[str, float] = {}

        def _maybe_reuse_cached_actor(self, trial: Any) -> bool:
            now = time.monotonic()
            waits_since = self._waits.setdefault(trial.trial_id, now)
            if trial in self._trial_to_actor and now - waits_since < PATIENCE:
                return False
            return super()._maybe_reuse_cached_actor(trial)

    return Controller


@contextmanager
def tune_adapted() -> Generator[None]:
    """Within it Tune has our controller, and its trials take workers that wait: with a variable of
    its own, for PyTorch Lightning, each would start a new one.
    """
    if gone := moved():
        LOGGER.warning(
            "this version of Ray differs from %s in %s: workers start anew between segments",
            " and ".join(READ_AGAINST),
            ", ".join(gone),
        )
        yield
        return
    from ray.tune import tune as tune_loop
    from ray.tune.execution import class_cache

    with (
        patch.dict(class_cache.DEFAULT_ENV_VARS, clear=True),
        patch.object(tune_loop, "TuneController", controller()),
    ):
        yield


def _found(path: str) -> Any:
    module, _, names = path.partition(":")
    try:
        found: Any = import_module(module)
        for name in names.split("."):
            found = getattr(found, name) if not isclass(found) else vars(found)[name]
    except (ImportError, AttributeError, KeyError):
        return None
    return found
